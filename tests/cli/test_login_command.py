"""`login`: in by whatever the back end offers, and what it says of the user; orders nothing."""

from __future__ import annotations

import concurrent.futures
import io
import json
import re
import sys

import pytest

import download
import main
from cli import login_command
from cli.exits import DONE, FAILED, LOGIN_NEEDED, USAGE
from cli.workspace import Workspace
from jobs import login
from tests.jobs.test_login import by_secret, confirm, home, log_in, works

__all__ = ["by_secret", "home"]  # fixtures

BUDGET = 1234.5  # of the sandbox


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, sandbox):
    """An empty working folder, nobody at the terminal, no faults afterwards, no order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    before = sandbox.events()["counts"].get("created", 0)
    yield tmp_path
    sandbox.clear_faults()
    assert sandbox.events()["counts"].get("created", 0) == before


@pytest.fixture
def at_a_terminal(sandbox, monkeypatch):
    """Somebody is there, who confirms each code that is shown."""
    monkeypatch.setattr(login_command, "somebody_is_there", lambda: True)
    shown, show = confirm(sandbox)
    monkeypatch.setattr(login_command, "tell", show)
    return shown


@pytest.fixture
def answers(capsys):
    """Run `login`; the exit code, and the table that it printed as a dictionary."""

    def run(sandbox, *more):
        code = main.main(["login", "--backend", sandbox.url, *more])
        out = capsys.readouterr().out.splitlines()[1:]
        return code, dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out)

    return run


def test_a_device_login_says_who_and_for_how_long_and_is_remembered(
    sandbox, at_a_terminal, answers
):
    code, said = answers(sandbox)
    assert code == DONE
    assert said["you are"] == "sandbox"
    assert said["logged in"] == "by device code at Sandbox"
    assert re.match(r"10 minutes, renewed", said["token"])
    assert re.match(r"60 minutes without use, until 20\d\d-\d\d-\d\d \d\d:\d\d UTC", said["lasts"])
    assert said["plan"].startswith("free: Two batch jobs at a time")
    assert said["credits left"] == login_command.UNKNOWN
    code, said = answers(sandbox)
    assert (code, len(at_a_terminal)) == (DONE, 1)
    assert "stored" in said["logged in"]


def test_client_credentials_log_in_without_anybody(sandbox, by_secret, answers):
    by_secret()
    code, said = answers(sandbox)
    assert code == DONE
    assert said["logged in"].startswith("by client credentials")
    assert "valid" in said["lasts"]


@pytest.mark.parametrize("flags", [(), ("--check",)])
def test_with_nobody_there_a_login_is_needed(sandbox, answers, capsys, flags):
    assert main.main(["login", "--backend", sandbox.url, *flags]) == LOGIN_NEEDED
    out, err = capsys.readouterr()
    assert out == ""
    assert f"main.py login --backend {sandbox.url}" in err


def test_check_asks_nobody_even_where_somebody_is(sandbox, at_a_terminal, answers):
    assert answers(sandbox, "--check")[0] == LOGIN_NEEDED
    assert at_a_terminal == []
    assert answers(sandbox)[0] == DONE
    assert answers(sandbox, "--check")[0] == DONE


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (["login-gone=1"], LOGIN_NEEDED),  # by the time that /me is asked
        (["no-account"], LOGIN_NEEDED),
        (["503=1,path=/me"], FAILED),
        (["503=1,path=/oidc/token"], FAILED),
        (["502-html=1,path=/openeo"], FAILED),
        (["html=1,path=/me"], FAILED),
        (["token-invalid=1,path=/me,times=1"], DONE),  # a new token helps
    ],
)
def test_the_exit_code_tells_a_lost_login_from_a_bad_network(
    sandbox, at_a_terminal, answers, monkeypatch, faults, code
):
    monkeypatch.setattr(login, "backoff", lambda *_: 0.0)
    assert answers(sandbox)[0] == DONE
    sandbox.fault(*faults)
    assert answers(sandbox, "--check")[0] == code


def test_what_is_no_back_end_is_told(sandbox, monkeypatch, capsys):
    monkeypatch.setattr(login, "backoff", lambda *_: 0.0)
    assert main.main(["login", "--check", "--backend", "http://127.0.0.1:9"]) == FAILED
    assert main.main(["login", "--check", "--backend", "http://openeo.example.org"]) == USAGE


def test_limits_are_said_as_far_as_the_back_end_says_them(sandbox, by_secret, answers):
    by_secret()
    sandbox.fault("account-limits")
    _, said = answers(sandbox)
    assert said["credits left"] == f"{BUDGET:,g} credits"
    assert said["storage"] == "2.6 GB of 10 GB free"
    assert said["Buy credits"].endswith("/credits")


@pytest.mark.parametrize(
    ("known", "words"),
    [({}, login_command.UNKNOWN), ({"budget": None}, "no limit"), ({"budget": 0}, "0 credits")],
)
def test_a_budget_in_words(known, words):
    assert login_command.credits_left(known, "credits") == words


@pytest.mark.parametrize("only", ["no-oidc", "no-providers"])
def test_a_name_and_a_password_are_asked_for_and_kept(sandbox, answers, monkeypatch, home, only):
    sandbox.fault(only)
    monkeypatch.setattr(login, "is_loopback", lambda url: False)  # whose password is known
    monkeypatch.setattr(login, "require_safe", lambda url: url)
    assert answers(sandbox, "--check")[0] == LOGIN_NEEDED
    assert answers(sandbox)[0] == LOGIN_NEEDED  # the answers end
    monkeypatch.setattr(sys, "stdin", io.StringIO("guest\nwrong\n"))
    assert answers(sandbox)[0] == LOGIN_NEEDED
    assert not (home / "auth-config.json").exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nguest\nguest\n"))
    code, said = answers(sandbox)
    assert (code, said["you are"]) == (DONE, "guest")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, said = answers(sandbox, "--check")
    assert (code, said["logged in"]) == (DONE, "by name and password")


def test_a_password_is_not_asked_for_twice_when_the_network_fails(sandbox, answers, monkeypatch):
    sandbox.fault("no-oidc", "503=1,path=/credentials/basic,times=1,skip=1")
    monkeypatch.setattr(login, "backoff", lambda *_: 0.0)
    monkeypatch.setattr(login, "SANDBOX_USER", "nobody")
    monkeypatch.setattr(sys, "stdin", io.StringIO("guest\nguest\n"))
    assert answers(sandbox)[0] == DONE


def test_the_built_in_back_end_needs_no_login(capsys):
    assert main.main(["login", "--backend", "sandbox", "--check"]) == DONE
    assert "needs no login" in capsys.readouterr().err


def test_where_to_log_in_is_where_the_archive_comes_from(folder, monkeypatch):
    assert login_command.usual_back_end(Workspace("a.zarr")) == "cdse"
    monkeypatch.setattr(download, "BACKEND", "https://openeo.example.org")
    assert login_command.usual_back_end(Workspace("a.zarr")) == "https://openeo.example.org"
    (folder / "a.zarr.downloads").mkdir()
    answers = folder / "a.zarr.downloads" / "answers.json"
    answers.write_text(json.dumps({"backend": "https://other.example.org"}))
    assert login_command.usual_back_end(Workspace("a.zarr")) == "https://other.example.org"


def test_two_processes_share_a_login_whose_refresh_tokens_are_used_up(sandbox, monkeypatch):
    """A second one renews in between; the first must not come with the old token again."""
    monkeypatch.setattr(login._Renewal, "FRESH", 0.0)
    _, show = confirm(sandbox)
    sandbox.fault("refresh-once")
    first = log_in(sandbox.url, interactive=True, show=show)
    for _ in range(3):
        second = log_in(sandbox.url)
        for remote in (first, second, first):
            remote._connection.auth.bearer += "x"  # its token has expired
            assert works(remote)


def test_renewals_at_the_same_time_come_one_after_the_other(sandbox, monkeypatch):
    monkeypatch.setattr(login._Renewal, "FRESH", 0.0)
    _, show = confirm(sandbox)
    sandbox.fault("refresh-once", "stall=1,path=/oidc/token,seconds=0.1")
    log_in(sandbox.url, interactive=True, show=show)
    remotes = [log_in(sandbox.url) for _ in range(3)]

    def renew(remote):
        for _ in range(3):
            remote._connection.auth.bearer += "x"
            assert works(remote)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(renew, remotes))


def test_an_expiry_is_read_from_tokens_that_have_one():
    assert login._expiry("x.eyJleHAiOiAxMjM0fQ.y") == 1234.0
    for other in (None, "", "opaque", "a.b.c", "x.eyJhIjogMX0.y", "x.eyJleHAiOiAwfQ.y"):
        assert login._expiry(other) is None


def test_no_token_is_shown(sandbox, at_a_terminal, home, capsys):
    assert main.main(["login", "--backend", sandbox.url]) == DONE
    stored = re.findall(r'"refresh_token": "([^"]+)"', (home / "refresh-tokens.json").read_text())
    assert stored
    out, err = capsys.readouterr()
    assert stored[0] not in out + err + " ".join(at_a_terminal)
