"""Logging in to the sandbox: basic, and OpenID Connect by the client's own flows."""

from __future__ import annotations

import re
import threading
import time

import pytest
import requests
from openeo.rest import OpenEoApiError
from openeo.rest.auth.config import RefreshTokenStore
from openeo.rest.auth.oidc import OidcException
from openeo.rest.connection import Connection, connect

from sandbox.auth import Auth, TokenError
from sandbox.faults import Faults
from sandbox.jobs import State

PUBLIC = "sandbox-public"


@pytest.fixture
def store(tmp_path):
    return RefreshTokenStore(tmp_path / "tokens")


def answer_device(sandbox, line, *, allow):
    """Do what the person at the browser does: open the page and press a button."""
    url = re.findall(r"http://\S+", line)[0]
    page = requests.get(url, timeout=10)
    code = re.findall(r'value="([0-9A-F-]+)"', page.text)[0]
    form = {"user_code": code, "answer": "yes" if allow else "no"}
    assert requests.post(url.partition("?")[0], data=form, timeout=10).ok


def log_in_by_device(sandbox, connection, *, allow=True):
    def display(line, end=""):
        if "http://" in line:
            threading.Thread(
                target=answer_device, args=(sandbox, line), kwargs={"allow": allow}
            ).start()

    return connection.authenticate_oidc_device(
        store_refresh_token=True, max_poll_time=20, display=display
    )


def test_the_device_code_flow_lets_in_and_leaves_a_refresh_token(sandbox, store):
    connection = Connection(sandbox.url, refresh_token_store=store)
    log_in_by_device(sandbox, connection)
    assert connection.describe_account()["user_id"] == "sandbox"
    token = store.get_refresh_token(issuer=f"{sandbox.url}/oidc", client_id=PUBLIC)
    assert token is not None
    again = Connection(sandbox.url, refresh_token_store=store).authenticate_oidc()
    assert again.describe_account()["user_id"] == "sandbox"


def test_a_denied_device_is_told_so(sandbox, store):
    with pytest.raises(OidcException, match="access_denied"):
        log_in_by_device(sandbox, Connection(sandbox.url, refresh_token_store=store), allow=False)


def test_client_credentials_come_from_the_environment(sandbox, monkeypatch):
    monkeypatch.setenv("OPENEO_AUTH_METHOD", "client_credentials")
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_SECRET", "sandbox-secret")
    monkeypatch.setenv("OPENEO_AUTH_PROVIDER_ID", "sandbox")
    assert connect(sandbox.url).authenticate_oidc().list_jobs() is not None
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_SECRET", "wrong")
    with pytest.raises(OidcException, match="invalid_client"):
        connect(sandbox.url).authenticate_oidc()


def test_an_access_token_expires_and_the_client_renews_it(sandboxes):
    sandbox = sandboxes("--access-seconds", "1", "--refresh-seconds", "3")
    basic = connect(sandbox.url).authenticate_basic("sandbox", "sandbox")
    renewing = connect(sandbox.url).authenticate_oidc_client_credentials(
        "sandbox-client", "sandbox-secret"
    )
    basic.list_jobs()
    time.sleep(1.2)
    with pytest.raises(OpenEoApiError, match="TokenInvalid"):
        basic.list_jobs()
    renewing.list_jobs()
    assert sandbox.events()["requests"]["POST /oidc/token"] == 2


def test_the_provider_describes_itself_and_its_users(sandbox):
    configuration = requests.get(
        f"{sandbox.url}/oidc/.well-known/openid-configuration", timeout=10
    ).json()
    assert configuration["issuer"] == f"{sandbox.url}/oidc"
    form = {
        "grant_type": "client_credentials",
        "client_id": "sandbox-client",
        "client_secret": "sandbox-secret",
    }
    answer = requests.post(configuration["token_endpoint"], data=form, timeout=10).json()
    token = answer["access_token"]
    info = requests.get(
        configuration["userinfo_endpoint"],
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    ).json()
    assert info["sub"] == "sandbox"
    assert requests.get(configuration["jwks_uri"], timeout=10).json() == {"keys": []}


@pytest.fixture
def auth(tmp_path):
    return Auth(b"key", Faults(State(tmp_path / "state"), lambda text: None))


def device(auth, **more):
    return auth.device({"client_id": PUBLIC, "scope": "openid offline_access", **more})


def poll(auth, code, **more):
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    return auth.token({"grant_type": grant, "client_id": PUBLIC, "device_code": code, **more})


def test_a_device_that_polls_too_often_is_told_to_slow_down(auth):
    code = device(auth)["device_code"]
    with pytest.raises(TokenError, match="authorization_pending"):
        poll(auth, code)
    with pytest.raises(TokenError, match="slow_down"):
        poll(auth, code)


def test_a_device_code_works_once_and_only_with_its_verifier(auth):
    # The pair of RFC 7636, appendix B.
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    given = device(auth, code_challenge=challenge, code_challenge_method="S256")
    assert auth.answer_device(given["user_code"], approve=True)
    assert not auth.answer_device(given["user_code"], approve=True)
    code = given["device_code"]
    with pytest.raises(TokenError, match="invalid_grant"):
        poll(auth, code, code_verifier="wrong")
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert "refresh_token" in poll(auth, code, code_verifier=verifier)
    with pytest.raises(TokenError, match="invalid_grant"):
        poll(auth, code, code_verifier=verifier)


def test_tokens_of_one_kind_are_not_good_for_another(auth):
    given = device(auth)
    auth.answer_device(given["user_code"], approve=True)
    tokens = poll(auth, given["device_code"])
    with pytest.raises(TokenError, match="invalid_grant"):
        auth.token(
            {
                "grant_type": "refresh_token",
                "client_id": PUBLIC,
                "refresh_token": tokens["access_token"],
            }
        )
    for kind in ("refresh_token", "id_token"):
        with pytest.raises(Exception, match="TokenInvalid"):
            auth.user(f"Bearer oidc/sandbox/{tokens[kind]}")
    assert auth.user(f"Bearer oidc/sandbox/{tokens['access_token']}") == "sandbox"
    with pytest.raises(Exception, match="TokenInvalid"):
        auth.user(f"Bearer basic//{tokens['access_token']}")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password", "client_id": PUBLIC}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "client_id": "x"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "invalid_client"),
        ({}, "invalid_client"),
    ],
)
def test_what_the_provider_does_not_do_is_refused(auth, form, error):
    with pytest.raises(TokenError, match=error):
        auth.token(form)
