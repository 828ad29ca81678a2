"""Files appear whole or not at all."""

from __future__ import annotations

import errno

import pytest

from shared.files import is_disk_full, reason, replacing, require_space


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "a picture.png"
    with replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.suffix == ".png"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x.nc"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_too_little_space_is_said_before_it_is_used(tmp_path):
    require_space(tmp_path, 1, "The download")
    with pytest.raises(OSError, match="The download needs") as error:
        require_space(tmp_path, 10**18, "The download")
    assert error.value.errno == errno.ENOSPC


def test_a_full_disk_is_recognised_behind_other_errors():
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as cause:
            raise RuntimeError("cannot write") from cause
    except RuntimeError as error:
        assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.EACCES, "no"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y"),
        (OSError(errno.ENOSPC, "The disk of x is full."), "The disk of x is full."),
        (OSError("a sentence."), "a sentence."),
        (FileNotFoundError("x: it is not there."), "x: it is not there."),
        (ValueError("a value"), "a value"),
    ],
)
def test_what_an_error_says_has_no_number(error, words):
    assert reason(error) == words
