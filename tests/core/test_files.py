import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core.files import file_name, read_text, write_atomic


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
