"""A stamp of all files of this package, which what is compiled of them bears."""

from __future__ import annotations

import hashlib
from importlib.resources import files


def _hash_of_package() -> str:
    sources = [f for f in files(__package__).iterdir() if f.name.endswith(".py")]
    parts = [(f.name, f.read_bytes()) for f in sorted(sources, key=lambda f: f.name)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


STAMP = _hash_of_package()
