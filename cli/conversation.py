"""Going back in a conversation: it is begun anew, with the answers that came before the last one.

A command asks its questions as it goes, wherever it needs an answer, and does nothing that lasts
before the last of them.  So `back` runs it again: what was answered is answered again, in silence,
and the question before is asked anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Back(Exception):
    """Somebody wants to return to the question before."""


@dataclass
class _Answers:
    """What was answered in this conversation, and what of it is to be answered again."""

    is_on: bool = False
    given: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)


_answers = _Answers()


def held(command: Callable[P, T]) -> Callable[P, T]:
    """A command in which `back` is an answer; one within another goes back to that one, too."""

    @functools.wraps(command)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        if _answers.is_on:
            return command(*arguments, **named)
        _answers.is_on, _answers.given, _answers.ahead = True, [], []
        try:
            while True:
                try:
                    return command(*arguments, **named)
                except Back:
                    _answers.ahead, _answers.given = _answers.given[:-1], []
        finally:
            _answers.is_on = False

    return run


def is_replayed() -> bool:
    """Whether what is told now was told before."""
    return bool(_answers.ahead)


def recalled() -> str | None:
    """The answer to the question that is asked now, if it was answered before."""
    return _answers.ahead.pop(0) if _answers.ahead else None


def forget() -> None:
    """What was answered does not fit any more: ask from here on."""
    _answers.ahead.clear()


def note(answer: str) -> None:
    """An answer was taken."""
    _answers.given.append(answer)


def amend(answer: str) -> None:
    """The last answer stood for another one, which is the answer from now on."""
    if _answers.given:
        _answers.given[-1] = answer


def undo() -> None:
    """The last answer was of no use; the question is asked again."""
    del _answers.given[-1:]


def can_go_back() -> bool:
    """Whether there is a question before this one."""
    return _answers.is_on and bool(_answers.given)
