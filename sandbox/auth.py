"""Who is asking: basic login, and a small OpenID Connect provider of our own.

Tokens are signed (JWT, HS256) with a key that lives in the state folder, so they outlive a
restart and nothing has to be remembered about them.  Access tokens are short-lived and
refresh tokens a little longer, as on the Copernicus back end.

The accounts are fixed, since nothing here is worth protecting:

* basic: user ``sandbox``, password ``sandbox`` (and ``guest``, ``guest``)
* client credentials: client ``sandbox-client``, secret ``sandbox-secret``
* device code and refresh token: the public client ``sandbox-public``; the page that the
  code is entered on logs in as ``sandbox`` and asks for no password
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

from sandbox.errors import ApiError
from sandbox.faults import Faults

USERS = {"sandbox": "sandbox", "guest": "guest"}  # name: password
CLIENTS = {"sandbox-client": "sandbox-secret"}  # id: secret
CLIENT_USER = "sandbox"  # who a client and a device log in as
PUBLIC_CLIENT = "sandbox-public"
PROVIDER = "sandbox"  # the provider's id in the API
ACCESS_SECONDS = 600.0  # life of an access token
REFRESH_SECONDS = 3600.0  # life of a refresh token
DEVICE_SECONDS = 300.0  # life of a device code
DEVICE_INTERVAL = 1  # s between two polls of a device
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

Json = dict[str, Any]


class TokenError(Exception):
    """An error of the token endpoint (RFC 6749, 5.2): its ``error`` code."""


@dataclass
class Device:
    """A device that waits for somebody to enter its code."""

    user_code: str
    expires: float
    challenge: str | None
    offline: bool
    approved: bool | None = None  # None: nobody has answered yet
    polled: float = 0.0


class Auth:
    """Issues and checks tokens; safe to use from several threads."""

    def __init__(
        self,
        key: bytes,
        faults: Faults,
        access_seconds: float = ACCESS_SECONDS,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._key = key
        self._faults = faults
        self._access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds
        self._devices: dict[str, Device] = {}
        self._used: set[str] = set()  # refresh tokens that must not come again
        self._ended: set[str] = set()  # logins that one of them has ended
        self._lock = threading.Lock()

    def user(self, header: str | None, path: str = "", http_method: str = "") -> str:
        """The user behind an ``Authorization`` header, or the API's error."""
        if not header:
            raise ApiError("AuthenticationRequired")
        scheme, _, value = header.partition(" ")
        method, _, rest = value.partition("/")
        provider, _, token = rest.partition("/")
        if scheme.lower() != "bearer" or (method, provider) not in (
            ("basic", ""),
            ("oidc", PROVIDER),
        ):
            raise ApiError("AuthenticationSchemeInvalid")
        self._faults.token_met()
        claims = self._claims(token)
        if claims is None or claims.get("use") != method:
            raise ApiError("TokenInvalid")
        if self._faults.fire(("token-invalid",), path, http_method):
            raise ApiError("TokenInvalid")
        return str(claims["sub"])

    def basic(self, username: str | None, password: str | None) -> str:
        """An access token for a user name and a password."""
        if username is None or password is None:
            raise ApiError("AuthenticationRequired")
        if self._faults.login_gone:
            raise ApiError("CredentialsInvalid")
        if not hmac.compare_digest(USERS.get(username, "").encode(), password.encode()):
            raise ApiError("CredentialsInvalid")
        return self._token(username, "basic", self._access_seconds)

    def device(self, form: Json) -> Json:
        """Begin a device login (RFC 8628, 3.2), without the addresses."""
        if form.get("client_id") != PUBLIC_CLIENT:
            raise TokenError("invalid_client")
        if form.get("code_challenge") and form.get("code_challenge_method") != "S256":
            raise TokenError("invalid_request")
        code = secrets.token_urlsafe(24)
        user_code = "-".join(secrets.token_hex(2).upper() for _ in range(2))
        offline = "offline_access" in str(form.get("scope", "")).split()
        with self._lock:
            self._devices[code] = Device(
                user_code, time.time() + DEVICE_SECONDS, form.get("code_challenge"), offline
            )
        return {
            "device_code": code,
            "user_code": user_code,
            "expires_in": int(DEVICE_SECONDS),
            "interval": DEVICE_INTERVAL,
        }

    def answer_device(self, user_code: str, *, approve: bool) -> bool:
        """Let a waiting device in, or not; False if no device waits with this code."""
        with self._lock:
            for device in self._devices.values():
                waiting = device.approved is None and device.expires > time.time()
                if waiting and device.user_code == user_code.strip().upper():
                    device.approved = approve
                    return True
        return False

    def token(self, form: Json) -> Json:
        """Answer a request to the token endpoint; raises TokenError."""
        if self._faults.login_gone:
            raise TokenError("invalid_grant")
        grant = form.get("grant_type")
        if grant == "client_credentials":
            secret = CLIENTS.get(str(form.get("client_id")), "")
            if not secret or not hmac.compare_digest(
                secret.encode(), str(form.get("client_secret", "")).encode()
            ):
                raise TokenError("invalid_client")
            return self._grant(CLIENT_USER, offline=False)
        if form.get("client_id") != PUBLIC_CLIENT:
            raise TokenError("invalid_client")
        if grant == "refresh_token":
            claims = self._claims(str(form.get("refresh_token", "")))
            if claims is None or claims.get("use") != "refresh":
                raise TokenError("invalid_grant")
            self._use_up(str(form["refresh_token"]), str(claims.get("login")))
            return self._grant(str(claims["sub"]), offline=True, login=claims.get("login"))
        if grant == DEVICE_GRANT:
            return self._device_token(form)
        raise TokenError("unsupported_grant_type")

    def _device_token(self, form: Json) -> Json:
        with self._lock:
            code = str(form.get("device_code", ""))
            device = self._devices.get(code)
            if device is None:
                raise TokenError("invalid_grant")
            now = time.time()
            if now > device.expires:
                raise TokenError("expired_token")
            if device.approved is None:
                early = now - device.polled < 0.5 * DEVICE_INTERVAL
                device.polled = now
                raise TokenError("slow_down" if early else "authorization_pending")
            if not device.approved:
                raise TokenError("access_denied")
            if device.challenge is not None:
                digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
                if _encode(digest) != device.challenge:
                    raise TokenError("invalid_grant")
            del self._devices[code]
        return self._grant(CLIENT_USER, offline=device.offline)

    def _use_up(self, token: str, login: str) -> None:
        """Take a refresh token only once, if that is switched on; a copy ends its login."""
        with self._lock:
            if token in self._used:
                self._ended.add(login)
            if login in self._ended:
                raise TokenError("invalid_grant")
            if self._faults.fire(("refresh-once",)):
                self._used.add(token)

    def _grant(self, user: str, *, offline: bool, login: str | None = None) -> Json:
        answer: Json = {
            "access_token": self._token(user, "oidc", self._access_seconds),
            "id_token": self._token(user, "id", self._access_seconds),
            "token_type": "Bearer",
            "expires_in": int(self._access_seconds),
            "scope": "openid email" + (" offline_access" if offline else ""),
        }
        if offline:
            answer["refresh_token"] = self._token(
                user, "refresh", self._refresh_seconds, login=login or secrets.token_hex(8)
            )
            answer["refresh_expires_in"] = int(self._refresh_seconds)
        return answer

    def _token(self, user: str, use: str, seconds: float, **more: str) -> str:
        now = time.time()
        claims = {"sub": user, "use": use, "iat": now, "exp": now + seconds, **more}
        parts = [_encode(json.dumps(p).encode()) for p in ({"alg": "HS256", "typ": "JWT"}, claims)]
        return ".".join([*parts, self._sign(".".join(parts))])

    def _claims(self, token: str) -> Json | None:
        """What a token of ours says, or None if it is not ours or has expired."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(signed).encode(), signature.encode()):
            return None
        body = signed.partition(".")[2]
        claims: Json = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if claims["exp"] < time.time() or claims["iat"] < self._faults.revoked_before:
            return None
        return None if self._faults.login_gone else claims

    def sign_link(self, path: str, expires: str) -> str:
        """The signature of a link to a file that is good until ``expires`` (Unix time, s)."""
        return self._sign(f"{path} {expires}")

    def _sign(self, text: str) -> str:
        return _encode(hmac.digest(self._key, text.encode(), "sha256"))


def discovery(base: str) -> Json:
    """The provider's discovery document; ``base`` is the server's address."""
    issuer = f"{base}/oidc"
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/device/verify",
        "token_endpoint": f"{issuer}/token",
        "device_authorization_endpoint": f"{issuer}/device",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/keys",
        "scopes_supported": ["openid", "email", "offline_access"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["client_credentials", "refresh_token", DEVICE_GRANT],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["HS256"],
        "code_challenge_methods_supported": ["S256"],
    }


def providers(base: str) -> Json:
    """The document at ``/credentials/oidc``."""
    return {
        "providers": [
            {
                "id": PROVIDER,
                "issuer": f"{base}/oidc",
                "title": "Sandbox",
                "description": "The sandbox's own provider; it asks for no password.",
                "scopes": ["openid", "email"],
                "default_clients": [
                    {
                        "id": PUBLIC_CLIENT,
                        "grant_types": [f"{DEVICE_GRANT}+pkce", "refresh_token"],
                        "redirect_urls": [],
                    }
                ],
            }
        ]
    }


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
