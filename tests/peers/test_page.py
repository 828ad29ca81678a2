"""The page of the map has nothing that TypeScript or ESLint complain of."""

from __future__ import annotations

import pytest

from tests.peers import page
from tests.peers.install import missing

needs_node = pytest.mark.skipif(bool(missing("node")), reason=missing("node") or "it is there")


@needs_node
@pytest.mark.parametrize("reader", page.READERS)
def test_the_page_has_nothing_to_complain_of(reader):
    assert page.complaints(reader) == ""


@needs_node
def test_a_mistake_in_the_page_is_told(tmp_path, monkeypatch, capsys):
    wrong = tmp_path / "map.js"
    text = page.PAGE.read_text(encoding="utf-8")
    wrong.write_text(text + "\nconst unused = chosen().nothing;\n", encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", wrong)
    assert page.main() == 1
    told = capsys.readouterr().out
    assert "nothing" in told  # by TypeScript
    assert "unused" in told  # by ESLint


def test_without_node_it_is_said_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.peers.install.PEERS", tmp_path)
    (tmp_path / "node.why").write_text("there is no npm")
    assert page.main() == 0
    assert "there is no npm" in capsys.readouterr().out
