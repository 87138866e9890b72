import os
from pathlib import Path
from typing import Any

import pytest

from fedloom.core.files import write_atomic


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
