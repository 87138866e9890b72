import os
import secrets
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core.files import (
    PROGRAM,
    SECRET,
    file_name,
    is_folder,
    on_disk,
    read_text,
    site_error,
    sites_error,
    write_atomic,
)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    target = tmp_path / "new" / "file"
    write_atomic(target, b"before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(target, b"after")
    assert target.read_bytes() == b"before"
    assert list(target.parent.iterdir()) == [target]


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    file = tmp_path / "text"
    for content in (b"\xef\xbb\xbfa = 1\n", b"a = 1\n"):
        file.write_bytes(content)
        assert read_text(file) == "a = 1\n"
    file.write_bytes(b"a\xef\xbb\xbf")  # elsewhere it is a character like any other
    assert read_text(file) == "a\ufeff"
    file.write_bytes(b"\xff\xfea\x00")
    with pytest.raises(UnicodeDecodeError):
        read_text(file)


@pytest.mark.parametrize(
    "text", ["lucide", "0", "Hospital-A", "\u5317\u4eac", "lr=0.01", "a_b.c,d+e@f", "a" * 120, "console"]
)
def test_a_text_that_can_be_a_file_name_stays_as_it_is(text: str) -> None:
    assert file_name(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),  # the hashes are sha256sum's
    [
        ("a/b", "a-b~c14cddc033f64b9d"),
        ("", "~e3b0c44298fc1c14"),
        ("NUL", "_NUL~ae6de1827cfc8111"),
        ("\u0416" * 200, "\u0416" * 51 + "~"),
        ("con.txt", "_con.txt~"),
        ("..", "~"),
        ("-rf", "rf~"),
        (".hidden", "hidden~"),
        ("e\u0301", "\u00e9~"),
        ("a.", "a~"),
        ("half \ud83d an emoji", "half-an-emoji~"),
    ],
)
def test_any_other_is_cut_to_what_can_stand_and_gets_a_hash(text: str, expected: str) -> None:
    name = file_name(text)
    assert name.startswith(expected)
    assert len(name) == len(expected.partition("~")[0]) + 17


@given(st.text(max_size=80), st.text(max_size=80), st.integers(24, 200))
def test_names_can_be_made_and_differ_where_texts_do(one: str, other: str, limit: int) -> None:
    left, right = file_name(one, limit), file_name(other, limit)
    assert (left == right) == (one == other)
    assert (unicodedata.normalize("NFC", left) == unicodedata.normalize("NFC", right)) == (one == other)
    assert 0 < len(left.encode()) <= limit
    assert not set(left) & set('/\\\0<>:"|?*\n ')
    assert left[0] not in ".-"
    assert left[-1] != "."
    assert file_name(left, limit) != left or left == one  # a name with a hash is no text's own


def test_a_file_is_never_readable_for_longer_than_it_shall_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, sync = [], os.fsync

    def looked(handle: int) -> None:
        seen.append(os.fstat(handle).st_mode & 0o777)
        sync(handle)

    monkeypatch.setattr(os, "fsync", looked)
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "token", b"secret", SECRET)
        write_atomic(tmp_path / "table", b"of the paper")
        write_atomic(tmp_path / "key.sh", b"#!/bin/sh", PROGRAM)
    finally:
        os.umask(before)
    assert seen[::2] == [0o600, 0o644, 0o755]  # each file, and then its folder
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("token", "table", "key.sh")] == seen[::2]


def test_what_lies_there_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, target = tmp_path / "other", tmp_path / "target"
    other.write_bytes(b"another user's")
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0" * 2 * count)
    for planted in (f".target.{os.getpid()}.part", f".target.{os.getpid()}-00000000.part"):
        (tmp_path / planted).symlink_to(other)
    with pytest.raises(FileExistsError):
        write_atomic(target, b"mine")
    assert not target.exists()
    monkeypatch.undo()
    target.symlink_to(other)
    write_atomic(target, b"mine")
    assert (target.read_bytes(), target.is_symlink(), other.read_bytes()) == (b"mine", False, b"another user's")


def test_half_a_file_has_the_name_that_a_run_folder_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(os, "fsync", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(Killed):
        write_atomic(tmp_path / "round.safetensors", b"half")
    assert len(list(tmp_path.rglob(".*.part"))) == len(list(tmp_path.iterdir())) == 1


GOOD = ["mercy", "St.Mary", "site-1", "0", "a_b", "x" * 64]
BAD = [
    "",
    ".",
    "..",
    "../../../escaped",
    "a/b",
    "-x",
    "charit\u00e9",
    "a b",
    'a"b',
    "a\n",
    "a.",
    "con",
    "x" * 65,
    "\x1b[2J",
]


def test_a_site_s_name_can_be_a_file_a_service_and_a_word() -> None:
    assert not any(map(site_error, GOOD))
    assert sites_error(GOOD) == ""
    for name in BAD:
        assert site_error(name).startswith("up to 64 letters")
        assert sites_error(["mercy", name]).startswith(f"site {name!r}: ")


@pytest.mark.parametrize("names", [["a", "a"], ["Mercy", "b", "mercy"]])
def test_sites_are_told_apart_by_more_than_case(names: list[str]) -> None:
    assert (
        sites_error(names)
        == f"sites {', '.join(sorted({names[0], names[-1]}))}: expected names that differ, and not in case alone."
    )


@pytest.mark.parametrize("text", ["x" * 5000, "a/" + "y" * 300, "a\0b", "~nobody-of-that-name/x", "nothing-here"])
def test_what_no_file_can_be_called_is_not_there(text: str) -> None:
    assert on_disk(text) is None
    assert not is_folder(text)


def test_what_is_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    assert on_disk(str(tmp_path / "file")) == tmp_path / "file"
    assert not is_folder(str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert on_disk("~") == tmp_path
    assert is_folder("~")
