"""Whom the server lets in."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from pages.guard import Guard, new_token

TOKEN = "a-token"
HOST = "127.0.0.1:8000"
GOOD = {"Host": HOST}
GUARD = Guard(TOKEN)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", GOOD),
        ("GET", {"Host": "localhost:8000"}),
        ("GET", {"Host": "[::1]:8000"}),
        ("GET", {"Host": "192.168.1.7:8000"}),
        ("GET", GOOD | {"Sec-Fetch-Site": "none"}),
        ("GET", GOOD | {"Sec-Fetch-Site": "same-origin"}),
        ("POST", GOOD | {"Origin": f"http://{HOST}"}),
        ("POST", {"host": HOST, "origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}),
    ],
)
def test_the_page_itself_is_let_in(method, headers):
    assert GUARD.reason(TOKEN, method, Headers(headers)) == ""


@pytest.mark.parametrize(
    ("token", "method", "headers"),
    [
        ("", "GET", GOOD),
        ("a-toke", "GET", GOOD),
        ("A-TOKEN", "GET", GOOD),
        ("ä-token", "GET", GOOD),
        (TOKEN, "GET", {}),
        (TOKEN, "GET", {"Host": ""}),
        (TOKEN, "GET", {"Host": "evil.example:8000"}),  # a name that points here: DNS rebinding
        (TOKEN, "GET", {"Host": "localhost.evil.example:8000"}),
        (TOKEN, "GET", {"Host": "127.0.0.1.evil.example"}),
        (TOKEN, "GET", {"Host": "[::1"}),
        (TOKEN, "GET", GOOD | {"Origin": "http://evil.example"}),
        (TOKEN, "GET", GOOD | {"Origin": "null"}),
        (TOKEN, "GET", GOOD | {"Origin": "http://127.0.0.1:8001"}),  # another port is another page
        (TOKEN, "GET", GOOD | {"Origin": f"https://{HOST}"}),
        (TOKEN, "GET", GOOD | {"Sec-Fetch-Site": "cross-site"}),
        (TOKEN, "GET", GOOD | {"Sec-Fetch-Site": "same-site"}),
        (TOKEN, "POST", GOOD),  # who changes something has to say who asks
        (TOKEN, "POST", GOOD | {"Origin": ""}),
        (TOKEN, "DELETE", GOOD),
    ],
)
def test_others_stay_outside(token, method, headers):
    assert GUARD.reason(token, method, Headers(headers)) != ""


def test_a_name_lets_in_if_it_was_told():
    assert Guard(TOKEN, ("archive.example",)).reason(
        TOKEN, "GET", Headers({"Host": "archive.example:80"})
    ) == ""  # fmt: skip


def test_tokens_cannot_be_guessed():
    some = {new_token() for _ in range(100)}
    assert len(some) == 100
    assert min(map(len, some)) >= 32
