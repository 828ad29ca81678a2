"""`back`, `?` and `help` are answers at every question."""

from __future__ import annotations

import io
import re
import sys

import pytest

from cli import conversation, explained
from cli.conversation import held
from cli.terminal import InputEnded, ask, confirm, tell
from tests.cli.test_terminal import QUESTIONS, archives, folder, piped  # noqa: F401
from tests.conftest import ROOT
from tests.rounds import torture, turns

each_question = pytest.mark.parametrize("question", turns(QUESTIONS, 2), ids=lambda q: q.name[:16])


@pytest.fixture
def talk(monkeypatch, capsys):
    """Three questions, answered from a pipe: what came of them, and what was said."""

    def whole(text):
        return int(text)

    @held
    def command():
        first = ask("First", whole, "1")
        tell(f"first is {first}")
        second = ask("Second", whole) if first < 5 else 0
        return first, second, inner()

    @held
    def inner():
        return confirm("Third?", default=True)

    def run(*lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return command(), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["1", "2", "n"], (1, 2, False)),
        (["1", "back", "3", "2", ""], (3, 2, True)),
        (["1", "2", "back", "4", "y"], (1, 4, True)),
        (["1", "2", "back", "back", "7", "n"], (7, 0, False)),
        (["back", "", "2", "y"], (1, 2, True)),
        (["x", "1", "BACK", "2", " back ", "6", "n"], (6, 0, False)),
    ],
)
def test_back_asks_the_question_before_again(talk, lines, found):
    assert talk(*lines)[0] == found


def test_the_questions_before_are_not_asked_again(talk):
    """What was said last stands before the question once more."""
    _, said = talk("1", "2", "back", "3", "y")
    assert said.count("First [1]: ") == 1
    assert "back\nfirst is 1\nSecond: 3" in said


def test_an_answer_that_does_not_fit_any_more_is_asked_for(monkeypatch, capsys):
    taken: list[str] = []

    def once(text):
        if taken:
            raise ValueError("It is gone.")
        taken.append(text)
        return text

    @held
    def command():
        return ask("A", once), ask("B", str)

    lines = "a", "back", "b"
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    with pytest.raises(InputEnded, match="ended at 'A'"):
        command()
    assert not conversation.can_go_back()


@torture
@each_question
def test_each_question_is_explained_and_asked_again(piped, question):  # noqa: F811
    for word in turns(explained.WORDS):
        _, said, _ = piped(question.arguments, *question.way, word)
        asked = question.asked.strip()
        assert said.count(asked) == 2
        between = said[said.index(asked) : said.rindex(asked)]
        assert "back returns to the question before; Ctrl-C ends" in between
        about = next(text for name, text in explained.QUESTIONS.items() if name in question.name)
        assert about in between


@torture
@each_question
def test_back_returns_to_the_question_before_at_each_question(piped, question):  # noqa: F811
    _, said, _ = piped(question.arguments, *question.way, "back")
    ended = said.rsplit("input ended at '", 1)[1].partition("'")[0]
    if not question.way:
        assert "There is no question before this one." in said
        assert ended == question.name
        return
    _, before, _ = piped(question.arguments, *question.way[:-1])
    assert ended == before.rsplit("input ended at '", 1)[1].partition("'")[0]


def test_every_question_of_the_program_has_an_explanation():
    sources = [path.read_text("utf-8") for path in (ROOT / "cli").glob("*.py")]
    asked = [re.findall(r'\b(?:ask|choose|confirm)\(\s*f?"([^"]+)"', text) for text in sources]
    names = sorted({name for found in asked for name in found})
    assert len(names) > 15
    assert [n for n in names if not n.startswith(tuple(explained.QUESTIONS))] == []
