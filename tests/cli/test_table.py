"""Tables fit the window, and are whole in a file."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from cli.table import LEAST, print_table

cells = st.text("abc d", min_size=1, max_size=30).map(lambda text: text.strip() or "x")
tables = st.lists(st.tuples(cells, cells, cells, cells), min_size=1, max_size=4)


def printed(rows, **how):
    out = io.StringIO()
    print_table(("one", "two", "three", "four"), rows, stream=out, **how)
    return out.getvalue().splitlines()


@given(rows=tables, window=st.integers(20, 200), spare=st.integers(0, 2), cuts=st.booleans())
def test_no_line_of_a_table_is_wider_than_the_window(rows, window, spare, cuts):
    lines = printed(rows, window=window, spare=spare, cuts=cuts)
    if lines[0].startswith("one"):  # else the cells stand below each other
        assert max(map(len, lines)) <= window


@given(rows=tables)
def test_a_file_has_all_of_it(rows):
    lines = printed(rows, spare=2, cuts=True)
    for line, row in zip(lines[1:], rows, strict=True):
        assert all(cell in line for cell in row)


def test_spare_columns_go_first_and_then_the_end_of_the_last():
    row = ("a" * 10, "b" * 10, "c" * 30, "d" * 10)
    assert printed([row], window=70, spare=1, cuts=True)[1].split() == list(row)
    assert printed([row], window=60, spare=1, cuts=True)[1].split() == list(row[:3])
    cut = printed([row], window=40, spare=1, cuts=True)[1].split()
    assert cut == [*row[:2], "c" * 13 + "..."]
    assert len(cut[2]) >= LEAST
    assert not printed([row], window=30, spare=1, cuts=True)[0].startswith("one")
