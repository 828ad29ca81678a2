"""Logging in to openeo-driver by oidc-provider: tokens of seconds, each refresh token once."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

import main
from cli import login_command
from cli.exits import DONE, LOGIN_NEEDED
from jobs import login


@pytest.fixture
def log_in(somebody, monkeypatch, capsys):
    """`login` with somebody there; exit code and table."""

    def run(back_end, *more, there=True):
        monkeypatch.setattr(login_command, "somebody_is_there", lambda: there)
        monkeypatch.setattr(login_command, "tell", somebody)
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        code = main.main(["login", "--backend", back_end.url, *more])
        out = capsys.readouterr().out.splitlines()[1:]
        return code, dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out)

    return run


def test_somebody_logs_in_by_a_code_and_stays_so(provider, back_end, log_in):
    peer = back_end(provider())
    assert log_in(peer, "--check")[0] == LOGIN_NEEDED
    code, said = log_in(peer)
    assert code == DONE
    assert said["you are"] == "jane@localhost (jane)"
    assert said["logged in"] == "by device code at Peer"
    assert said["token"].startswith("10 minutes")
    assert said["lasts"] == "the provider does not say"
    for _ in range(3):  # each takes a refresh token that is good once
        code, said = log_in(peer, "--check", there=False)
        assert (code, said["logged in"]) == (DONE, "by the login that is stored at Peer")
    assert peer.created() == {}


def test_a_login_outlives_its_tokens(provider, back_end, log_in, monkeypatch):
    """Tokens of 2 s, and refresh tokens of 6 s that are good once: 12 s of questions."""
    monkeypatch.setattr(login._Renewal, "FRESH", 0.5)
    peer = back_end(provider(2, 6))
    assert log_in(peer)[0] == DONE
    remotes = [login.connect(peer.url, False, print) for _ in range(2)]
    end = time.monotonic() + 12
    while time.monotonic() < end:
        for remote in remotes:
            assert remote.find("no such title") == []
        time.sleep(0.3)
    assert len(peer.events("token expired")) >= 8
    assert log_in(peer, "--check", there=False)[0] == DONE
    time.sleep(7)
    assert log_in(peer, "--check", there=False)[0] == LOGIN_NEEDED


def test_a_name_and_a_password_let_in(back_end, monkeypatch, capsys):
    peer = back_end()
    monkeypatch.setattr(sys, "stdin", io.StringIO("anna\nwrong\n"))
    assert main.main(["login", "--backend", peer.url]) == LOGIN_NEEDED
    monkeypatch.setattr(sys, "stdin", io.StringIO("anna\nanna123\n"))
    assert main.main(["login", "--backend", peer.url]) == DONE
    assert "anna" in capsys.readouterr().out
    assert main.main(["login", "--backend", peer.url, "--check"]) == DONE
