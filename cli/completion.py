"""Commands and flags that a shell completes: a script that it reads when it starts."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from cli.running import COMPLETE, NAME

MAIN = Path(__file__).parents[1] / "main.py"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), help="The shell that is to read it.")
def completion(shell: str) -> None:
    """Print what makes this program a command, s1, that a shell completes: bash, zsh or fish.

    \b
    Examples:
      eval "$(python main.py completion bash)"
      python main.py completion fish | source
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """The command s1, whatever the folder, and what completes it.

    Click's own would run s1 as a program, which it is not.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    program = shlex.join([sys.executable, str(MAIN)])
    text = made(click.Command(NAME), {}, NAME, COMPLETE).source()
    text = text.replace(f"(( ! $+commands[{NAME}] )) && return 1", "")  # zsh: it is a function
    asks = f"{COMPLETE}={shell}_complete"
    before, _, after = text.partition(asks)
    head, called, tail = _called(after, shell)
    assert called, text
    define = (
        f"function {NAME}; {program} $argv; end" if shell == "fish"
        else f'{NAME}() {{ {program} "$@"; }}'
    )  # fmt: skip
    return f"{define}\n{before}{asks}{head}{program}{tail}"


def _called(text: str, shell: str) -> tuple[str, str, str]:
    """Where in Click's script the program is called: what is before that, it, and behind it."""
    word = {"bash": "$1", "zsh": NAME, "fish": NAME}[shell]
    return text.partition(word)
