"""Asking and telling on a terminal: questions, sizes and times in words.

Answers come from stdin, typed or piped, one per line.  Questions and progress go to
stderr, results to stdout, so that `main.py list > file` holds the list and nothing else.
Only where stdin and stdout are both terminals does a question go to stdout, because
Python offers line editing nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import TextIO, TypeVar

from cli import conversation
from cli.explained import BACK, WORDS, explained
from grid import count as count

T = TypeVar("T")

MOST_TRIES = 20  # answers to one question, where nobody is at a terminal to read the reasons
ANSWER_ROOM = 16  # columns, left free behind a question where the window has them
WHICH = "Which one"  # the end of a question that lists what can be answered
STAYS = "\N{NO-BREAK SPACE}"
USUAL_WIDTH = 80  # columns of a window that does not say how wide it is, or says 0
UNITS = (("B", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))
SPANS = (  # up to so many seconds; a unit of so many; its name and its short one
    (90, 1, "second", "s"),
    (5400, 60, "minute", "min"),
    (172_800, 3600, "hour", "h"),
    (float("inf"), 86_400, "day", "d"),
)


class InputEnded(Exception):
    """Standard input ended where an answer was needed."""

    def __init__(self, name: str, why: str = "input ended at") -> None:
        super().__init__(f"{why} '{name}'; nothing was started")


def ask(
    name: str,
    parse: Callable[[str], T],
    default: str = "",
    hint: str = "",
    before: str = "",
    room: int = ANSWER_ROOM,
    again: str = "",
) -> T:
    """Ask until ``parse`` takes the answer; a ValueError is shown as one line of reason.

    ``before``, ``name``, ``hint`` and in brackets the default make up the question, with
    ``room`` columns for the answer.  An empty answer means the default, ? or help explains
    the question, and back returns to the one before (see `conversation`).  ``again``: what a
    long one is asked as when it was read once.  Raises InputEnded at the end of input and
    KeyboardInterrupt at Ctrl-C; both say that nothing was started.
    """
    end = f" [{default}]: " if default else ": "
    question = before + name + hint + end
    tries = 0
    while True:
        answer = conversation.recalled()
        answer = _answered(name, question, room, default) if answer is None else answer
        if answer is not None:
            try:
                found = parse(answer)
            except ValueError as error:
                conversation.forget()
                tell(f"  {error}")
            else:
                conversation.note(answer)
                return found
        tries += 1
        question = again + end if again else question
        if tries >= MOST_TRIES and not sys.stdin.isatty():
            raise InputEnded(name, f"none of {tries} answers could be used at")


def confirm(question: str, default: bool, before: str = "") -> bool:
    """Ask for yes or no; ``before`` is what it is about."""
    words = {"y": True, "yes": True, "n": False, "no": False, "": default}

    def parse(text: str) -> bool:
        if text.strip().lower() not in words:
            raise ValueError(f"{text!r} is neither y nor n.")
        return words[text.strip().lower()]

    return ask(question, parse, hint=" [Y/n]" if default else " [y/N]", before=before, room=1)


def choose(
    question: str, options: dict[str, str], default: str, about: Mapping[str, str] | None = None
) -> str:
    """Ask for one of ``options`` (key: what it means), by key or by its meaning.

    They are in a line of their own where the window is too narrow for one line.  ``about``: what
    is said of them; then each has a line.
    """

    def parse(text: str) -> str:
        for key, meaning in options.items():
            if text.strip().lower() in (key.lower(), meaning.lower()):
                return key
        raise ValueError(f"{text!r} is not one of {', '.join(options)}.")

    if about is not None:
        hint = f"{_listed(options, about)}\n{WHICH}"
        return ask(question, parse, default, hint, room=1, again=WHICH)
    listed = "".join(f"  {key} {meaning}" for key, meaning in options.items())
    if len(_folded(f"{question}{listed} [{default}]: ", spare=1)) > 1:
        listed = "\n" + listed
    return ask(question, parse, default, listed, room=1)


def _listed(options: Mapping[str, str], about: Mapping[str, str]) -> str:
    """A line for each; without what is said of them where the window is too narrow for that."""
    widest = max(map(len, options.values()))
    names = [f"\n  {key} {meaning}" for key, meaning in options.items()]
    lines = [
        f"{name:<{widest + 7}}{about.get(key, '')}".rstrip()
        for name, key in zip(names, options, strict=True)
    ]
    is_wide = all(len(_folded(line.strip("\n"))) == 1 for line in lines)
    return "".join(lines if is_wide else names)


def somebody_is_there() -> bool:
    """Whether a question that no flag has answered can be asked at all."""
    return sys.stdin.isatty()


def typed() -> bool:
    """Whether a line was typed, or a key pressed, that nobody has read yet."""
    if sys.platform == "win32":
        import msvcrt

        return bool(msvcrt.kbhit())
    return bool(select.select([sys.stdin], [], [], 0)[0])


def read_line(name: str) -> str:
    """The line that was typed, which the terminal shows; raises InputEnded at the end of input."""
    if not (line := sys.stdin.readline()):
        raise InputEnded(name)
    return line.rstrip("\r\n")


def tell(text: str = "", begun: str = "") -> None:
    """A line on stderr, folded at blanks where the window is narrow; `begin` may have begun it."""
    if conversation.is_replayed():
        return
    shown = len(_begun(begun))
    _write("\n".join(_folded(begun + text))[shown:] + "\n")


def tell_whole(text: str) -> None:
    """A line on stderr that is to be copied: never folded."""
    _write(f"{text}\n")


def begin(text: str) -> None:
    """Show the beginning of a line whose end takes a moment to find out."""
    if conversation.is_replayed():
        return
    _write(_begun(text))


def hush(stream: TextIO) -> None:
    """Send what is still to come on a stream to nowhere: its reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def size(n_bytes: float) -> str:
    """A number of bytes for people, as in ``2.6 GB``."""
    unit, scale = next(((u, s) for u, s in UNITS if n_bytes < 999.5 * s), UNITS[-1])
    number = n_bytes / scale
    return f"{number:.0f} {unit}" if number >= 9.95 or unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float, short: bool = False) -> str:
    """A time span for people, as in ``50 minutes``, or ``50 min`` in short."""
    divisor, name, brief = next((d, n, b) for limit, d, n, b in SPANS if seconds < limit)
    number = max(1, round(seconds / divisor))
    return f"{number} {brief}" if short else f"{number} {name}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share in few characters; what is not all of it is never called 100 %."""
    if share is None:
        return "-"
    if share >= 0.999999:
        return "100 %"
    if 0.005 <= share < 0.995:
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def _answered(name: str, question: str, room: int, default: str) -> str | None:
    """An answer, or None after one that was about the question; raises Back."""
    answer = _read(name, question, room)
    word = answer.strip().lower()
    if word in WORDS:
        tell(f"  {explained(name, '[' in question)}")
        return None
    if word != BACK:
        return answer if word else default
    if conversation.can_go_back():
        raise conversation.Back
    tell("  There is no question before this one.")
    return None


def _read(name: str, question: str, room: int) -> str:
    """One line of input without its end."""
    *above, last = _folded(question, room)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  (its import gives input() line editing)
            if above:
                tell("\n".join(above))
            return input(last)
        _write(question)
        line = sys.stdin.readline()
    except EOFError:
        line = ""
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; nothing was started.") from None
    if not line:
        _write("\n")
        raise InputEnded(name)
    if not sys.stdin.isatty():
        _write(line.rstrip("\r\n") + "\n")  # so that the log of a piped run shows the answers
    return line.rstrip("\r\n")


def _folded(text: str, spare: int = 0) -> list[str]:
    """The lines of a text; on a terminal folded at blanks to its width less ``spare``."""
    lines = text.split("\n")
    if not sys.stderr.isatty():
        return lines
    width = _width()
    spare = spare if width > 3 * spare else 0
    return [part for line in lines for part in _fold(line, width - spare)]


def _begun(text: str) -> str:
    return "\n".join(_folded(text)).rstrip()


def _width() -> int:
    """Columns of the window; not those of stdout, which may be a file."""
    with contextlib.suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", ""))) > 0:
            return columns
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
    return USUAL_WIDTH


def _fold(line: str, width: int) -> list[str]:
    words = line.strip()
    if len(line) <= width or not words:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    # What stands between wider gaps stays together, as "3 list" does.
    items = re.split(r"(  +)", words)
    whole = [item.strip() and len(item) <= width // 2 for item in items]
    words = "".join(i.replace(" ", STAYS) if w else i for i, w in zip(items, whole, strict=True))
    # A path that is cut in two could not be copied, so words stay whole.
    parts = textwrap.wrap(
        words, width, initial_indent=indent, subsequent_indent=indent + "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    parts = [part.replace(STAYS, " ") for part in parts]
    return [*parts[:-1], parts[-1] + " " * (len(line) - len(line.rstrip()))]


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        hush(sys.stderr)
