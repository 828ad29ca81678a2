"""Discovery and login as servers of others answer them: each a real one on loopback."""

from __future__ import annotations

import threading
from typing import Any

import flask
import pytest
import werkzeug.serving

from cli import exits
from jobs import login
from jobs.trouble import LoginNeeded
from tests.jobs.test_login import by_secret, home, log_in  # noqa: F401  (fixtures)

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = {"id": "public", "grant_types": [f"{DEVICE}+pkce", "refresh_token"], "redirect_urls": []}
MISSING = object()  # a field that is not there, or an address that answers 404


def without(document, **changes):
    """A document with some fields changed or left out."""
    changed = document | changes
    return {name: value for name, value in changed.items() if value is not MISSING}


class Server:
    """An openEO back end with a login, and its identity providers, as ``documents`` have them."""

    def __init__(self):
        app = flask.Flask("back end")
        server = self.server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
        url = self.url = f"http://127.0.0.1:{server.port}"
        self.basic = {"access_token": "by-password"}
        self.ways = {"oidc", "basic"}
        self.discovery = {
            "issuer": f"{url}/one",
            "token_endpoint": f"{url}/token",
            "device_authorization_endpoint": f"{url}/device",
        }
        self.discoveries: dict[str, Any] = {}
        self.token = {"access_token": "by-oidc", "token_type": "Bearer", "expires_in": 600}
        self.refuse = 0
        self.asked: list[Any] = []

        @app.get("/")
        def root():
            paths = ["/jobs", *(f"/credentials/{way}" for way in sorted(self.ways))]
            return {
                "api_version": "1.2.0",
                "endpoints": [{"path": path, "methods": ["GET"]} for path in paths],
            }

        @app.get("/credentials/oidc")
        def oidc():
            return flask.jsonify(self.providers)

        @app.get("/credentials/basic")
        def basic():
            return ("no", self.refuse) if self.refuse else flask.jsonify(self.basic)

        @app.get("/<name>/.well-known/openid-configuration")
        def discovery(name):
            document = self.discoveries.get(name, self.discovery)
            return ("not here", 404) if document is MISSING else flask.jsonify(document)

        @app.post("/token")
        def token():
            self.asked.append(dict(flask.request.form))
            return flask.jsonify(self.token)

        @app.get("/jobs")
        def jobs():
            self.asked.append(flask.request.headers.get("Authorization", ""))
            return {"jobs": [], "links": []}

        self.providers: Any = {"providers": [self.provider("one")]}

    def provider(self, name, **changes):
        usual = {"id": name, "issuer": f"{self.url}/{name}", "title": name, "scopes": ["openid"],
                 "default_clients": [CLIENT]}  # fmt: skip
        return without(usual, **changes)

    def list(self, *providers):
        self.providers = {"providers": list(providers)}


@pytest.fixture
def server():
    about = Server()
    thread = threading.Thread(target=about.server.serve_forever, args=[0.02])
    thread.start()
    yield about
    about.server.shutdown()
    thread.join()


def who(server):
    """How the requests of a logged-in connection are signed."""
    assert log_in(server.url).find("no such title") == []
    return server.asked[-1]


# What /credentials/oidc answers where there is no provider that can be used.
NONE_LISTED = {
    "an empty list": {"providers": []},
    "null": {"providers": None},
    "no list": {},
    "one without an address": {"providers": [{"id": "one", "title": "One"}]},
    "one without a name": {"providers": [{"issuer": "https://example.org"}]},
    "one that is null": {"providers": [None]},
}


@pytest.mark.parametrize("answer", NONE_LISTED.values(), ids=NONE_LISTED)
def test_without_a_provider_the_password_is_used(answer, server):
    server.providers = answer
    assert who(server) == "Bearer basic//by-password"


@pytest.mark.parametrize("answer", NONE_LISTED.values(), ids=NONE_LISTED)
def test_without_a_provider_and_a_password_nobody_can_log_in(answer, server):
    server.providers, server.ways = answer, {"oidc"}
    with pytest.raises(LoginNeeded, match="lists no identity provider.*Nothing was ordered") as e:
        log_in(server.url)
    assert exits.exit_code(e.value) == exits.LOGIN_NEEDED
    assert exits.raised_on_purpose(e.value)


# What is the matter with the only provider: of the list, of its own document; and the words.
UNUSABLE = {
    "not encrypted": ({"issuer": "http://example.org"}, {}, "not encrypted"),
    "no address": ({"issuer": "one"}, {}, "one"),
    "no clients": ({"default_clients": MISSING}, {}, "no public client"),
    "null for clients": ({"default_clients": None}, {}, "no public client"),
    "clients without grants": ({"default_clients": [{"id": "a"}]}, {}, "no public client"),
    "a client that is null": ({"default_clients": [None]}, {}, "no public client"),
    "clients for browsers only": (
        {"default_clients": [CLIENT | {"grant_types": ["authorization_code+pkce"]}]},
        {}, "no public client",
    ),
    "no document": ({}, MISSING, "discovery document"),
    "a document of another form": ({}, ["a"], "token_endpoint"),
    "no address for tokens": ({}, {"token_endpoint": MISSING}, "token_endpoint"),
    "no address for devices": ({}, {"device_authorization_endpoint": MISSING}, "no device login"),
    "tokens not encrypted": ({}, {"token_endpoint": "http://example.org/"}, "not encrypted"),
    "codes not encrypted": (
        {}, {"device_authorization_endpoint": "http://example.org/"}, "not encrypted",
    ),
}  # fmt: skip


def spoil(server, listed, document, name="one"):
    if isinstance(document, dict):
        document = without(server.discovery, **document)
    server.discoveries[name] = document
    return server.provider(name, **listed)


@pytest.mark.parametrize(("listed", "document", "words"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("interactive", [False, True])
def test_a_provider_that_cannot_be_used_is_told_with_the_reason(
    listed, document, words, interactive, server
):
    server.list(spoil(server, listed, document))
    server.ways = {"oidc"}
    with pytest.raises(LoginNeeded, match=f"one: .*{words}") as error:
        log_in(server.url, interactive=interactive)
    assert exits.exit_code(error.value) == exits.LOGIN_NEEDED
    server.ways = {"oidc", "basic"}
    assert who(server) == "Bearer basic//by-password"


@pytest.mark.parametrize(("listed", "document", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_of_several_providers_the_first_usable_one_is_taken(listed, document, words, server):
    server.list(spoil(server, listed, document), server.provider("two"))
    with pytest.raises(LoginNeeded, match="OPENEO_AUTH_PROVIDER_ID=two"):
        log_in(server.url)


def test_the_environment_chooses_among_several_providers(server, by_secret, monkeypatch):  # noqa: F811
    by_secret()
    server.list(*(server.provider(name) for name in ("one", "two", "sandbox")))
    assert who(server) == "Bearer oidc/sandbox/by-oidc"
    monkeypatch.delenv("OPENEO_AUTH_PROVIDER_ID")
    assert who(server) == "Bearer oidc/one/by-oidc"


def test_a_secret_goes_to_no_other_provider_than_the_one_that_was_named(server, by_secret):  # noqa: F811
    by_secret()
    with pytest.raises(LoginNeeded, match=r"'sandbox'.*does not list it, but one\. Set it"):
        log_in(server.url)
    assert server.asked == []


OPTIONAL = {
    "no title": {"title": MISSING},
    "no scopes": {"scopes": MISSING},
    "null for scopes": {"scopes": None},
    "scopes in one text": {"scopes": "openid email"},
    "no clients": {"default_clients": MISSING},
    "null for parameters": {"authorization_parameters": None},
}


@pytest.mark.parametrize("listed", OPTIONAL.values(), ids=OPTIONAL)
def test_what_is_optional_may_be_missing(listed, server, by_secret):  # noqa: F811
    by_secret()
    server.list(server.provider("sandbox", **listed))
    assert who(server) == "Bearer oidc/sandbox/by-oidc"
    scope = set(server.asked[0]["scope"].split())
    assert scope == {"openid"} | ({"email"} if listed.get("scopes") == "openid email" else set())


@pytest.mark.parametrize("ways", [{"basic"}, {"oidc", "basic"}, set()])
def test_each_way_that_is_offered_is_used(ways, server):
    server.ways = ways
    server.list()
    assert who(server) == ("Bearer basic//by-password" if ways else "")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_password_is_told_in_whatever_form_it_is_refused(status, server):
    server.ways, server.refuse = {"basic"}, status
    with pytest.raises(LoginNeeded, match=r"refused the name and password.*main.py login"):
        log_in(server.url)


# Answers that nobody can use: an error in a sentence, which is no bug of this program.
STRANGE = {
    "no list of providers": ("providers", ["a"]),
    "a text for providers": ("providers", "a"),
    "a password without a token": ("basic", {}),
    "a list for a password": ("basic", []),
    "a token that is none": ("token", {}),
    "a list for a token": ("token", []),
}


@pytest.mark.parametrize(("name", "answer"), STRANGE.values(), ids=STRANGE)
def test_an_answer_of_another_form_is_told(name, answer, server, by_secret):  # noqa: F811
    by_secret()
    server.list(server.provider("sandbox"))
    setattr(server, name, answer)
    if name == "basic":
        server.ways = {"basic"}
    with pytest.raises(ConnectionError, match="no usable answer.*an answer") as error:
        log_in(server.url)
    assert exits.exit_code(error.value) == exits.FAILED


@pytest.mark.parametrize("endpoints", [None, [None], [{"path": "/jobs"}], {}, 7])
def test_a_back_end_that_lists_its_ways_in_another_form_is_told(endpoints, server):
    def root():
        return {"api_version": "1.2.0", "endpoints": endpoints}

    server.server.app.view_functions["root"] = root
    try:
        remote = login.connect(server.url, False, print, sleep=lambda _: None)
    except ConnectionError as error:
        assert "no usable answer" in str(error)
    else:
        assert remote.find("no such title") == []


@pytest.mark.parametrize("seconds", [MISSING, None, 0, "600", "soon", 600.0, [600]])
def test_how_long_a_token_is_good_may_be_said_in_any_form(seconds, server, by_secret):  # noqa: F811
    by_secret()
    server.list(server.provider("sandbox"))
    server.token = without(server.token, expires_in=seconds)
    assert who(server) == "Bearer oidc/sandbox/by-oidc"
