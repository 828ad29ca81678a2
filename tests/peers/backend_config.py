"""The configuration that openeo-driver reads: one provider, names and passwords, signed links."""

from __future__ import annotations

import json
import os
from pathlib import Path

from openeo_driver.config import OpenEoBackendConfig
from openeo_driver.urlsigning import UrlSigner
from openeo_driver.users.oidc import OidcProvider

_given = json.loads(Path(os.environ["PEER_CONFIG"]).read_text(encoding="utf-8"))
_clients = [
    {
        "id": "public",
        "grant_types": [
            "urn:ietf:params:oauth:grant-type:device_code+pkce",
            "refresh_token",
        ],
    }
]
_providers = [
    OidcProvider(
        id="peer", issuer=_given["issuer"], scopes=["openid", "email"], title="Peer",
        default_clients=_clients,
    )
]  # fmt: skip

config = OpenEoBackendConfig(
    id="peer",
    oidc_providers=_providers if _given["issuer"] else [],
    enable_basic_auth=True,
    valid_basic_auth=lambda name, password: password == f"{name}123",
    url_signer=UrlSigner("a secret of the tests", _given["link_seconds"]),
)
