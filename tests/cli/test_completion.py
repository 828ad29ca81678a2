"""What a shell completes, asked as each shell asks."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from cli.completion import script
from tests.conftest import ROOT

BASH = """eval "$("{python}" "{main}" completion bash)"
COMP_WORDS=({words} "{last}"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_s1_completion s1; printf '%s\\n' "${{COMPREPLY[@]}}"; s1 --version
"""
FISH = """"{python}" "{main}" completion fish | source
complete -C "{words} {last}" | string split -f 1 \\t; s1 --version
"""
ASKED = [
    ("s1", "re", {"retrieve", "remove"}),
    ("s1 retrieve", "--comp", {"--composite"}),
    ("s1 list --orbit", "as", {"ascending"}),
]


def there(shell):
    return pytest.param(shell, marks=pytest.mark.skipif(
        not shutil.which(shell), reason=f"there is no {shell}"))  # fmt: skip


@pytest.mark.parametrize("shell", [there("bash"), there("fish")])
@pytest.mark.parametrize(("words", "last", "expected"), ASKED)
def test_a_shell_completes_commands_flags_and_choices(tmp_path, shell, words, last, expected):
    text = {"bash": BASH, "fish": FISH}[shell].format(
        python=sys.executable, main=ROOT / "main.py", words=words, last=last
    )
    done = subprocess.run(
        [shell, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    *found, version = done.stdout.split("\n")[:-1]
    assert set(found) == expected, done.stderr
    assert version.startswith("sentinel1-healpix ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_calls_the_program_wherever_it_is(shell):
    text = script(shell)
    assert text.count(str(ROOT / "main.py")) == 2  # the command, and what asks it
    assert sys.executable in text
    assert "$+commands" not in text


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_can_read_it(tmp_path):
    path = tmp_path / "completion.zsh"
    path.write_text(script("zsh"))
    lines = f"autoload -Uz compinit; compinit -u -D; source {path}; whence -w s1 _s1_completion"
    done = subprocess.run(["zsh", "-f", "-c", lines], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["s1:", "function", "_s1_completion:", "function"], done.stderr
