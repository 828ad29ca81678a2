"""Logging in to an openEO back end, and staying logged in for days.

In this order: client credentials from the environment, the refresh token of an earlier
login, and the device code, for which somebody must be at the terminal.  The flows are
those of the openEO client; kept here is what a run over a weekend needs on top:

- An access token lasts 10 minutes and a refresh token an hour, and every renewal brings a
  new refresh token.  The client would use the first one for ever; `_Renewal` goes on with
  the newest and stores it.
- The client's token requests have no time-out; those of `_Session` have one.
- A renewal that failed because the network was down is no lost login.
- Some providers take a refresh token only once and end the login when it comes again, so
  processes of the same user renew one after the other, each with the newest (`_Refresh`).

Tokens are neither printed nor logged.  This room imports the openEO client, which takes
most of a second: import it when a connection is needed.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import filelock
import requests
from openeo.rest import OpenEoApiPlainError, OpenEoClientException
from openeo.rest.auth.auth import OidcBearerAuth
from openeo.rest.auth.config import AuthConfig, RefreshTokenStore
from openeo.rest.auth.oidc import (
    AccessTokenResult,
    DefaultOidcClientGrant,
    OidcClientCredentialsAuthenticator,
    OidcClientInfo,
    OidcDeviceAuthenticator,
    OidcException,
    OidcProviderInfo,
    OidcRefreshTokenAuthenticator,
)
from openeo.rest.connection import Connection

from jobs.address import is_loopback, require_safe
from jobs.remote import Remote
from jobs.trouble import Kind, LoginNeeded, Trouble, backoff, of_status, redact

TIMEOUT = (10.0, 30.0)  # s to connect, and between two bytes of an answer
CONNECT_TRIES = 4
DEVICE_CODE_WAIT = 300.0  # s in which somebody must confirm the code
SANDBOX_USER = "sandbox"  # name and password on a back end of this computer
RENEWAL_WAIT = 60.0  # s for another process that renews the same login
UNUSABLE = (AttributeError, IndexError, KeyError, TypeError)  # by answers of another form

T = TypeVar("T")
Show = Callable[[str], None]
Ask = Callable[[str], tuple[str, str]]  # given the address: name and password


@dataclass(frozen=True)
class Standing:
    """How somebody is logged in, and until when (seconds since 1970-01-01 UTC; None: unknown)."""

    way: str = ""  # "": the back end asks for no login
    provider: str = ""
    access_until: float | None = None
    renewable: bool = True
    refresh_until: float | None = None


class _NoProviderError(Exception):
    """No identity provider of the back end can be used; the message says why."""


def connect(
    url: str,
    interactive: bool,
    show: Show,
    prefer_basic: bool = False,
    timeout: tuple[float, float] = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
    ask: Ask | None = None,
) -> Remote:
    """A back end, logged in by what it offers: OIDC, else basic, else nothing.

    ``prefer_basic`` is for the embedded back end, where nobody should have to confirm
    anything.  ``show`` is given the address and the code of a device login; ``ask``, if
    there is one, gets name and password where only these let in.  Raises ValueError for
    an address that is not safe, ConnectionError when there is no openEO back end, and
    LoginNeeded when somebody must log in and ``interactive`` is False.
    """
    return log_in(url, interactive, show, prefer_basic, timeout, sleep, ask)[0]


def log_in(
    url: str,
    interactive: bool,
    show: Show,
    prefer_basic: bool = False,
    timeout: tuple[float, float] = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
    ask: Ask | None = None,
) -> tuple[Remote, Standing]:
    """As `connect`, with how somebody is logged in and for how long."""
    ask = ask and functools.cache(ask)  # one that was typed is not typed again
    return _tried(
        url, lambda session: _connect(url, session, interactive, show, prefer_basic, ask), timeout,
        sleep,
    )  # fmt: skip


def look(
    url: str,
    timeout: tuple[float, float] = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> Remote:
    """A back end without a login, for what it tells everybody; errors as of `connect`."""
    return _tried(url, lambda session: Remote(_open(url, session)), timeout, sleep)


def _tried(
    url: str,
    connected: Callable[[_Session], T],
    timeout: tuple[float, float],
    sleep: Callable[[float], None],
) -> T:
    """What comes of connecting, tried again after a passing trouble."""
    url = require_safe(url)
    problem: Exception | None = None
    for count in range(CONNECT_TRIES):
        if count:
            sleep(backoff(count, 0.5, 5.0, random.Random()))
        session = _Session(timeout)
        try:
            return connected(session)
        except (OpenEoClientException, requests.RequestException, *UNUSABLE) as error:
            problem = error
            if _passing(error, session) is None:
                break
    raise ConnectionError(
        f"There is no usable answer of an openEO back end at {url} ({_words(problem)}). "
        "Nothing was ordered. Check the network and the address, then run the same command."
    ) from problem


def _words(problem: Exception | None) -> str:
    """What was wrong, for people."""
    if isinstance(problem, KeyError):
        return f"an answer lacks {problem}"
    if isinstance(problem, UNUSABLE):
        return f"an answer has another form than the API promises: {redact(str(problem))}"
    return redact(str(problem))


class _Session(requests.Session):
    """A session whose requests all have our time-out, and which knows its last status."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__()
        self._timeout = timeout
        self._last = threading.local()

    @property
    def last_status(self) -> int:
        return getattr(self._last, "status", 0)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = self._timeout
        self._last.status = 0
        response = super().request(*args, **kwargs)
        self._last.status = response.status_code
        return response


class _Connection(Connection):
    """The client's connection, which renews its token our way when an answer asks for it."""

    renewal: _Renewal | None = None

    def try_access_token_refresh(self, **_: object) -> bool:
        return self.renewal is not None and self.renewal.renew()

    def renewal_trouble(self) -> Trouble | None:
        return self.renewal.trouble if self.renewal else None


class _Renewal:
    """Gets a new token when the old one has expired, once for all threads that noticed.

    ``login`` does it.  A failure that may pass is kept in ``trouble``.
    """

    FRESH = 5.0  # s in which a token that another thread has just got is taken as it is

    def __init__(self, login: Callable[[], object], session: _Session, standing: Standing) -> None:
        self.standing = standing
        self.trouble: Trouble | None = None
        self._login = login
        self._session = session
        self._lock = threading.Lock()
        self._renewed = float("-inf")

    def renew(self) -> bool:
        """Whether there is a new token."""
        with self._lock:
            if time.monotonic() - self._renewed < self.FRESH:
                return True
            try:
                self._login()
            except (OpenEoClientException, requests.RequestException, *UNUSABLE) as error:
                self.trouble = _passing(error, self._session)
                return False
            self.trouble = None
            self._renewed = time.monotonic()
            return True


def _passing(error: Exception, session: _Session) -> Trouble | None:
    """The trouble, if it may work later; None if the server has refused for good."""
    words = f"the login did not work: {error}"
    if isinstance(error.__cause__ or error, (requests.RequestException, *UNUSABLE)):
        return Trouble(Kind.PASSING, words)
    trouble = of_status(session.last_status, words)
    return trouble if trouble.kind is Kind.PASSING else None


def _open(url: str, session: _Session) -> _Connection:
    # Its own retries are off: they would wait where nobody can see it.
    connection = _Connection(url, session=session, auto_validate=False, retry=False)
    require_safe(connection.root_url)
    return connection


def _connect(
    url: str,
    session: _Session,
    interactive: bool,
    show: Show,
    prefer_basic: bool,
    ask: Ask | None,
) -> tuple[Remote, Standing]:
    connection = _open(url, session)
    offers = connection.capabilities().supports_endpoint
    oidc, basic = (offers(f"/credentials/{way}", "GET") for way in ("oidc", "basic"))
    if basic and prefer_basic:
        connection.renewal = _basic(connection, SANDBOX_USER, SANDBOX_USER, session)
    elif oidc:
        connection.renewal = _oidc_or_basic(connection, url, session, interactive, show, basic, ask)
    elif basic:
        connection.renewal = _by_password(connection, url, session, ask)
    standing = connection.renewal.standing if connection.renewal else Standing()
    return Remote(connection, connection.renewal_trouble), standing


def _by_password(connection: _Connection, url: str, session: _Session, ask: Ask | None) -> _Renewal:
    """In by the password that is stored, else by one that somebody types, which is stored."""
    try:
        return _basic(connection, *_stored_password(url), session)
    except LoginNeeded:
        if ask is None:
            raise
    name, password = ask(url)
    renewal = _basic(connection, name, password, session)
    with contextlib.suppress(OSError, RuntimeError):
        AuthConfig().set_basic_auth(url, name, password)
    return renewal


def _oidc_or_basic(
    connection: _Connection,
    url: str,
    session: _Session,
    interactive: bool,
    show: Show,
    basic: bool,
    ask: Ask | None,
) -> _Renewal:
    """By name and password where OIDC is offered without a provider that can be used."""
    try:
        return _oidc(connection, url, session, interactive, show)
    except _NoProviderError as error:
        if basic:
            return _by_password(connection, url, session, ask)
        raise LoginNeeded(
            f"Nobody can log in at {url} from here: {error}. Nothing was ordered. Ask those who "
            "run it, or choose another back end."
        ) from error


def _stored_password(url: str) -> tuple[str, str]:
    """Name and password that the user has given to the openEO client, or a sandbox's own."""
    name, password = AuthConfig().get_basic_auth(backend=url)
    if name and password:
        return name, password
    if is_loopback(url):
        return SANDBOX_USER, SANDBOX_USER
    raise LoginNeeded(
        f"{url} offers only a login by name and password, and none is stored. "
        f"Store them with: python main.py login --backend {url}"
    )


def _basic(connection: _Connection, name: str, password: str, session: _Session) -> _Renewal:
    def login() -> None:
        connection.authenticate_basic(name, password)

    try:
        login()
    except OpenEoApiPlainError as error:
        if error.http_status_code not in (400, 401, 403):
            raise
        raise LoginNeeded(
            f"{connection.root_url} refused the name and password of {name} "
            f"({redact(error.message)}). Store others with: python main.py login --backend "
            f"{connection.root_url}"
        ) from error
    return _Renewal(login, session, Standing("name and password"))


def _oidc(
    connection: _Connection, url: str, session: _Session, interactive: bool, show: Show
) -> _Renewal:
    secret = _client_secret()
    client = _first_usable(connection, url, session, secret)
    if secret:
        return _by_secret(connection, client, session)
    provider = client.provider
    refresh, way = _Refresh(client, session), "the login that is stored"
    tokens = refresh.first()
    if not tokens:
        if not interactive:
            raise LoginNeeded(_ways(url, provider.id))
        tokens, way = _by_device_code(client, session, show, _ways(url, provider.id)), "device code"
        refresh.keep(tokens)

    def login() -> None:
        _use(connection, client, refresh.tokens())

    _use(connection, client, tokens)
    return _Renewal(login, session, _standing(way, provider, tokens))


def _first_usable(
    connection: _Connection, url: str, session: _Session, secret: tuple[str, str] | None
) -> OidcClientInfo:
    """A client at the provider that the environment names, else at the first usable one.

    A provider that does not answer for now is waited for: jobs of another account would be
    ordered again.
    """
    reasons = []
    for listed in _providers(connection, url):
        try:
            provider = _provider(listed, session)
            if secret:
                return OidcClientInfo(secret[0], provider, secret[1])
            return OidcClientInfo(*_client(url, provider))
        except (ValueError, *UNUSABLE) as error:
            reasons.append(f"{listed['id']}: {str(error).rstrip('.')}")
        except OidcException as error:
            if session.last_status == 0 or of_status(session.last_status, "").kind is Kind.PASSING:
                raise
            reasons.append(f"{listed['id']}: {redact(str(error))}")
    if reasons:
        raise _NoProviderError(f"none of its identity providers can be used ({'; '.join(reasons)})")
    raise _NoProviderError("it offers a login by OpenID Connect, but lists no identity provider")


def _providers(connection: _Connection, url: str) -> list[dict[str, Any]]:
    """The providers that are listed with what the login needs, or the one that was named."""
    answer = connection.get("/credentials/oidc", expected_status=200).json()
    listed = [p for p in answer.get("providers") or () if isinstance(p, dict)]
    listed = [p for p in listed if _is_text(p.get("id")) and _is_text(p.get("issuer"))]
    wanted = os.environ.get("OPENEO_AUTH_PROVIDER_ID")
    if not wanted or not listed:
        return listed
    if named := [p for p in listed if p["id"] == wanted]:
        return named
    raise LoginNeeded(
        f"OPENEO_AUTH_PROVIDER_ID is {wanted!r}, and {url} does not list it, but "
        f"{', '.join(p['id'] for p in listed)}. Set it to one of these, or unset it."
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _provider(listed: dict[str, Any], session: _Session) -> OidcProviderInfo:
    """A provider by what the back end and its own discovery document say of it.

    Raises ValueError for addresses that are not safe, and TypeError or KeyError for
    documents that nobody can use.
    """
    _require_address(listed["issuer"])
    scopes = listed.get("scopes") or []
    provider = OidcProviderInfo(
        issuer=listed["issuer"],
        scopes=scopes.split() if isinstance(scopes, str) else scopes,
        provider_id=listed["id"],
        title=str(listed.get("title") or listed["id"]),
        default_clients=[c for c in listed.get("default_clients") or () if _is_client(c)],
        requests_session=session,
        authorization_parameters=listed.get("authorization_parameters"),
    )
    if not isinstance(provider.config, dict) or "token_endpoint" not in provider.config:
        raise ValueError("its discovery document names no token_endpoint")
    for name in ("token_endpoint", "device_authorization_endpoint"):
        if provider.config.get(name):
            _require_address(provider.config[name])
    return provider


def _require_address(url: str) -> None:
    """As `require_safe`, which takes addresses of people, who leave out https."""
    require_safe(url)
    if "://" not in url:
        raise ValueError(f"{url!r} is no whole address")


def _is_client(client: object) -> bool:
    return isinstance(client, dict) and isinstance(client.get("grant_types"), list)


def _client_secret() -> tuple[str, str] | None:
    """Client id and secret from the environment, as the openEO client names them."""
    method = os.environ.get("OPENEO_AUTH_METHOD")
    if method and method != "client_credentials":
        raise LoginNeeded(
            f"OPENEO_AUTH_METHOD is {method!r}; only client_credentials is known. Unset it, "
            "or set it to client_credentials."
        )
    pair = os.environ.get("OPENEO_AUTH_CLIENT_ID"), os.environ.get("OPENEO_AUTH_CLIENT_SECRET")
    if pair[0] and pair[1]:
        return pair[0], pair[1]
    if method:
        raise LoginNeeded(
            "OPENEO_AUTH_METHOD is client_credentials, but OPENEO_AUTH_CLIENT_ID or "
            "OPENEO_AUTH_CLIENT_SECRET is not set."
        )
    return None


def _client(url: str, provider: OidcProviderInfo) -> tuple[str, OidcProviderInfo, str | None]:
    """The client that the user has configured, else the back end's public one.

    Raises ValueError if there is none.
    """
    configured, secret = AuthConfig().get_oidc_client_configs(url, provider.id)
    grant = DefaultOidcClientGrant
    client_id = configured or provider.get_default_client_id(
        lambda grants: (
            grant.REFRESH_TOKEN in grants
            and (grant.DEVICE_CODE in grants or grant.DEVICE_CODE_PKCE in grants)
        )
    )
    ways = "Set OPENEO_AUTH_METHOD=client_credentials, OPENEO_AUTH_CLIENT_ID and _CLIENT_SECRET"
    if not client_id:
        raise ValueError(f"it has no public client for a device login. {ways}")
    known = _stored_token(RefreshTokenStore(), provider.issuer, client_id)
    if not known and not provider.config.get("device_authorization_endpoint"):
        raise ValueError(f"it knows no device login. {ways}")
    return client_id, provider, secret


def _by_secret(connection: _Connection, client: OidcClientInfo, session: _Session) -> _Renewal:
    authenticator = OidcClientCredentialsAuthenticator(client, requests_session=session)

    def login() -> AccessTokenResult:
        tokens = authenticator.get_tokens()
        _use(connection, client, tokens)
        return tokens

    try:
        standing = _standing("client credentials", client.provider, login())
    except OidcException as error:
        if _passing(error, session):
            raise
        raise LoginNeeded(
            f"The client credentials were refused ({redact(str(error))}). Check "
            "OPENEO_AUTH_CLIENT_ID and OPENEO_AUTH_CLIENT_SECRET."
        ) from error
    return _Renewal(login, session, standing)


def _by_device_code(
    client: OidcClientInfo, session: _Session, show: Show, ways: str
) -> AccessTokenResult:
    def display(text: str = "", end: str = "\n") -> None:
        if end == "\n" and text.strip():  # the rest is the client's own progress bar
            show(text)

    try:
        authenticator = OidcDeviceAuthenticator(
            client, display=display, max_poll_time=DEVICE_CODE_WAIT, requests_session=session
        )
        return authenticator.get_tokens(request_refresh_token=True)
    except OidcException as error:
        if _passing(error, session):
            raise
        raise LoginNeeded(f"The login was not confirmed ({redact(str(error))}). {ways}") from error


class _Refresh:
    """The newest refresh token of a login: this run's, or one that another process has got."""

    def __init__(self, client: OidcClientInfo, session: _Session) -> None:
        self._client = client
        self._session = session
        self._store = RefreshTokenStore()
        self._token: str | None = None  # this run goes on with it where none can be stored

    def first(self) -> AccessTokenResult | None:
        """New tokens by the login that is stored; None if there is none, or it has expired."""
        try:
            return self.tokens() if self._stored() else None
        except OidcException as error:
            if _passing(error, self._session):
                raise
            return None

    def tokens(self) -> AccessTokenResult:
        """New tokens, one process after the other; the old refresh token is not used again."""
        with self._alone():
            token = self._stored() or self._token or ""
            tokens = OidcRefreshTokenAuthenticator(self._client, token, self._session).get_tokens()
            self.keep(tokens)
            return tokens

    def keep(self, tokens: AccessTokenResult) -> None:
        """Remember the refresh token, and store it as the openEO client does."""
        if not tokens.refresh_token:
            return
        self._token = tokens.refresh_token
        key = self._client.provider.issuer, self._client.client_id
        with contextlib.suppress(OSError, RuntimeError):
            self._store.set_refresh_token(*key, tokens.refresh_token)

    def _stored(self) -> str | None:
        return _stored_token(self._store, self._client.provider.issuer, self._client.client_id)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this user from renewing; where none can be locked, go on."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, NotImplementedError):
                path = self._store.path.with_name(f"{self._store.path.name}.lock")
                stack.enter_context(filelock.FileLock(path, timeout=RENEWAL_WAIT))
            yield


def _stored_token(store: RefreshTokenStore, issuer: str, client_id: str) -> str | None:
    with contextlib.suppress(OSError, RuntimeError):
        return store.get_refresh_token(issuer, client_id)
    return None


def _standing(way: str, provider: OidcProviderInfo, tokens: AccessTokenResult) -> Standing:
    try:
        seconds = float(tokens.expires_in or 0)  # some providers say it as a text
    except (TypeError, ValueError):
        seconds = 0.0
    until = time.time() + seconds if seconds else _expiry(tokens.access_token)
    name = str(provider.title or provider.id)
    return Standing(way, name, until, bool(tokens.refresh_token), _expiry(tokens.refresh_token))


def _expiry(token: str | None) -> float | None:
    """Until when a token is good, if it is one that says so (RFC 7519, 4.1.4)."""
    try:
        claims = (token or "").split(".")[1]
        body = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return float(json.loads(body)["exp"]) or None
    except (ValueError, LookupError, TypeError):
        return None


def _use(connection: _Connection, client: OidcClientInfo, tokens: AccessTokenResult) -> None:
    connection.auth = OidcBearerAuth(client.provider.id, tokens.access_token)


def _ways(url: str, provider_id: str) -> str:
    return (
        f"{url} needs a login. Either run `python main.py login --backend {url}` once at a "
        "terminal: it shows an address and a code to confirm in a browser, and remembers the "
        "login. Or set "
        "OPENEO_AUTH_METHOD=client_credentials, OPENEO_AUTH_CLIENT_ID, "
        f"OPENEO_AUTH_CLIENT_SECRET and OPENEO_AUTH_PROVIDER_ID={provider_id}."
    )
