"""Logging in and staying logged in, against the sandbox's own OpenID Connect provider."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import download
from jobs import address, login
from jobs.trouble import Kind, LoginNeeded, Trouble
from store import Archive
from tests.downloading import QUICK, connect, folder_of, run

VARIABLES = ("METHOD", "CLIENT_ID", "CLIENT_SECRET", "PROVIDER_ID")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A place of its own for the client's files, and no credentials in the environment."""
    folder = tmp_path / "openeo-home"
    folder.mkdir()
    monkeypatch.setenv("OPENEO_CONFIG_HOME", str(folder))
    monkeypatch.setattr(login, "DEVICE_CODE_WAIT", 20.0)  # the client polls less often for longer
    for name in VARIABLES:
        monkeypatch.delenv(f"OPENEO_AUTH_{name}", raising=False)
    return folder


@pytest.fixture
def by_secret(monkeypatch):
    def use(secret="sandbox-secret"):
        values = ("client_credentials", "sandbox-client", secret, "sandbox")
        for name, value in zip(VARIABLES, values, strict=True):
            monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)

    return use


def log_in(url, interactive=False, show=print, **more):
    return login.connect(url, interactive, show, sleep=lambda _: None, **more)


def confirm(sandbox, approve=True):
    """A ``show`` that does what a person does with the code."""
    shown: list[str] = []

    def show(text):
        shown.append(text)
        if found := re.search(r"user_code=([A-Z0-9-]+)", text):
            sandbox.control("device", "POST", user_code=found[1], approve=approve)

    return shown, show


def works(remote):
    return remote.find("no such title") == []


@pytest.mark.parametrize(
    "url", ["http://openeo.example.org", "http://192.168.1.7:8080", "http://127.example.org"]
)
def test_plain_http_is_refused_for_anything_but_this_computer(url):
    with pytest.raises(ValueError, match="not encrypted"):
        log_in(url)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "https://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="no address"):
        log_in(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:80", "http://[::1]:80"])
def test_plain_http_is_accepted_on_this_computer(url):
    assert address.require_safe(url) == url
    assert address.require_safe("openeo.example.org") == "https://openeo.example.org"


def test_no_server_is_told_in_a_sentence_after_a_few_tries():
    waits: list[float] = []
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9.*Nothing was ordered"):
        login.connect("http://127.0.0.1:9", False, print, sleep=waits.append)
    assert len(waits) == login.CONNECT_TRIES - 1


def test_a_server_that_is_no_back_end_is_told(tmp_path):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_args):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=[0.02]).start()
        with pytest.raises(ConnectionError, match="no usable answer of an openEO back end"):
            log_in(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_the_embedded_back_end_needs_nobody(sandbox):
    assert works(download.connect(sandbox.url, False, label="sandbox"))


def test_with_nobody_at_the_terminal_both_ways_out_are_named(sandbox):
    with pytest.raises(LoginNeeded) as error:
        log_in(sandbox.url)
    for word in ("terminal", "browser", "OPENEO_AUTH_CLIENT_ID", "OPENEO_AUTH_PROVIDER_ID=sandbox"):
        assert word in str(error.value)


def test_client_credentials_come_from_the_environment(sandbox, by_secret):
    by_secret()
    assert works(log_in(sandbox.url))


def test_refused_client_credentials_are_told(sandbox, by_secret):
    by_secret("wrong")
    with pytest.raises(LoginNeeded, match="refused.*OPENEO_AUTH_CLIENT_SECRET"):
        log_in(sandbox.url)


def test_half_of_the_client_credentials_is_told(sandbox, by_secret, monkeypatch):
    by_secret()
    monkeypatch.delenv("OPENEO_AUTH_CLIENT_SECRET")
    with pytest.raises(LoginNeeded, match="is not set"):
        log_in(sandbox.url)


def test_a_device_login_shows_one_line_and_is_remembered(sandbox, home):
    shown, show = confirm(sandbox)
    assert works(log_in(sandbox.url, interactive=True, show=show))
    assert len(shown) == 1
    assert "http" in shown[0]
    assert list(home.glob("refresh-tokens.json"))
    assert works(log_in(sandbox.url, interactive=False))


def test_a_device_login_that_is_denied_is_told(sandbox):
    _, show = confirm(sandbox, approve=False)
    with pytest.raises(LoginNeeded, match="not confirmed"):
        log_in(sandbox.url, interactive=True, show=show)


def test_a_stored_token_that_has_expired_is_no_obstacle(sandbox, home):
    _, show = confirm(sandbox)
    log_in(sandbox.url, interactive=True, show=show)
    path = home / "refresh-tokens.json"
    tokens = json.loads(path.read_text())
    for clients in tokens.values():
        for entry in clients.values():
            entry["refresh_token"] += "x"
    path.write_text(json.dumps(tokens))
    with pytest.raises(LoginNeeded):
        log_in(sandbox.url)
    assert works(log_in(sandbox.url, interactive=True, show=show))


def test_a_login_outlives_its_first_refresh_token(sandboxes, home):
    """Tokens of 0.3 s and refresh tokens of 0.9 s: after 1.9 s each of them was replaced."""
    short = sandboxes("--access-seconds", "0.3", "--refresh-seconds", "0.9")
    _, show = confirm(short)
    remote = log_in(short.url, interactive=True, show=show)
    login._Renewal.FRESH, fresh = 0.1, login._Renewal.FRESH
    try:
        end = time.monotonic() + 1.9
        while time.monotonic() < end:
            assert works(remote)
            time.sleep(0.2)
    finally:
        login._Renewal.FRESH = fresh
    assert works(log_in(short.url))


def test_a_provider_that_is_down_is_no_lost_login(sandbox, by_secret):
    by_secret()
    remote = log_in(sandbox.url)
    sandbox.fault("tokens-revoked=1", "503=1,path=/oidc/token,times=1")
    try:
        with pytest.raises(Trouble) as trouble:
            remote.find("title")
        assert trouble.value.kind is Kind.PASSING
        assert works(remote)
        sandbox.fault("login-gone=1")
        with pytest.raises(Trouble) as trouble:
            remote.find("title")
        assert trouble.value.kind is Kind.LOGIN
    finally:
        sandbox.clear_faults()


def test_a_passing_trouble_at_login_is_tried_again(sandbox, by_secret):
    by_secret()
    sandbox.fault("502-html=1,path=/credentials/oidc,times=1", "500=1,path=/oidc/token,times=1")
    try:
        assert works(log_in(sandbox.url))
    finally:
        sandbox.clear_faults()


def test_tokens_are_neither_printed_nor_logged(sandbox, home, tmp_path, capsys, caplog):
    _, show = confirm(sandbox)
    archive = Archive(tmp_path / "a.zarr")
    with caplog.at_level(logging.INFO):
        remote = log_in(sandbox.url, interactive=True, show=show)
        sandbox.fault("500=5", "tokens-revoked=6")
        try:
            run(sandbox.url, archive, columns=1, days=1, connection=remote, pace=QUICK)
        finally:
            sandbox.clear_faults()
    stored = re.findall(r'"refresh_token": "([^"]+)"', (home / "refresh-tokens.json").read_text())
    secrets = [*stored, remote._connection.auth.bearer.rpartition("/")[2]]
    assert len(secrets) == 2
    out, err = capsys.readouterr()
    log = (folder_of(archive) / "download.log").read_text()
    for secret in secrets:
        assert secret not in out + err + log + caplog.text
    assert out == ""


def test_the_retry_of_the_client_itself_is_off(sandbox):
    """Its waits would be invisible; ours are told, logged and can be interrupted."""
    remote = connect(sandbox.url)
    sandbox.fault("503=1,path=/jobs")
    try:
        before = sandbox.control("faults")["faults"][0]["met"]
        with pytest.raises(Trouble):
            remote.find("title")
        assert sandbox.control("faults")["faults"][0]["met"] == before + 1
    finally:
        sandbox.clear_faults()
