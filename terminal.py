"""Asking and telling on a terminal: questions, sizes and times in words.

Answers come from stdin, typed or piped, one per line.  Questions and progress go to
stderr, results to stdout, so that `main.py list > file` holds the list and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

T = TypeVar("T")


class InputEnded(Exception):
    """Standard input ended where an answer was needed."""

    def __init__(self, question: str) -> None:
        super().__init__(f"input ended at '{question}'; nothing was started")
        self.question = question


def ask(question: str, parse: Callable[[str], T], default: str | None = None) -> T:
    """Ask until ``parse`` takes the answer; a ValueError is shown as one line of reason.

    An empty answer means ``default``, which is shown in brackets.  Raises InputEnded at
    the end of input and KeyboardInterrupt at Ctrl-C.
    """
    while True:
        answer = _read(question, default)
        try:
            return parse(answer)
        except ValueError as error:
            tell(f"  {error}")


def confirm(question: str, default: bool) -> bool:
    """Ask for yes or no."""
    hint = "Y/n" if default else "y/N"
    words = {"y": True, "yes": True, "n": False, "no": False, "": default}

    def parse(text: str) -> bool:
        if text.strip().lower() not in words:
            raise ValueError(f"{text!r} is neither y nor n.")
        return words[text.strip().lower()]

    return ask(f"{question} [{hint}]", parse, default="")


def choose(question: str, options: dict[str, str], default: str) -> str:
    """Ask for one of ``options`` (key: what it means), by key or by its first word."""
    listed = "  ".join(f"{key} {meaning}" for key, meaning in options.items())

    def parse(text: str) -> str:
        for key, meaning in options.items():
            if text.strip().lower() in (key.lower(), meaning.lower()):
                return key
        raise ValueError(f"{text!r} is not one of {', '.join(options)}.")

    return ask(f"{question}  {listed}", parse, default)


def tell(text: str = "") -> None:
    """One line on stderr."""
    click.echo(text, err=True)


def size(n_bytes: float) -> str:
    """A number of bytes for people, as in ``2.6 GB``."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while n_bytes >= 999.5 and len(units) > 1:
        n_bytes /= 1000
        units.pop(0)
    unit = units[0]
    return f"{n_bytes:.0f} {unit}" if n_bytes >= 10 or unit == "B" else f"{n_bytes:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time span for people, as in ``50 minutes``."""
    spans = ((90, 1, "second"), (5400, 60, "minute"), (172800, 3600, "hour"), (0, 86400, "day"))
    divisor, unit = next((d, u) for limit, d, u in spans if seconds < limit or not limit)
    n = max(1, round(seconds / divisor))
    return f"{n} {unit}{'' if n == 1 else 's'}"


def _read(question: str, default: str | None) -> str:
    shown = f" [{default}]" if default else ""
    try:
        text: str = click.prompt(
            f"{question}{shown}", default="", show_default=False, prompt_suffix=": ", err=True
        )
    except click.Abort as abort:
        if not sys.stdin.isatty():
            tell()
        if isinstance(abort.__context__, EOFError):
            raise InputEnded(question) from None
        raise KeyboardInterrupt from None
    if not sys.stdin.isatty():
        tell(text)  # so that a log of a piped run shows what was answered
    return text if text.strip() or default is None else default
