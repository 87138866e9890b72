"""One process at a time, told who has it; a killed one stops nobody."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedloom.core import lock
from fedloom.core.errors import FedloomError

HOLDER = """
import sys
from pathlib import Path
from fedloom.core import lock
with lock.hold(Path(sys.argv[1]), "Wait."):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(file: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "{one}" / "lock"
    with holder(file) as process:
        place = re.escape(str(file.parent))
        told = rf"{place}: process {process.pid} on .+ since \d{{4}}-\d\d-\d\d .+ is at work in it\. "
        for _ in range(2):  # the first refusal changed nothing
            with pytest.raises(FedloomError, match=told + "Go away"), lock.hold(file, "Go away."):
                pass
            assert lock.held(file)
        process.communicate()
    assert not lock.held(file)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with holder(file) as process:
        process.kill()
        process.wait()
    assert file.exists()
    assert not lock.held(file)
    with lock.hold(file, "Wait."):
        assert lock.held(file)
        assert str(os.getpid()) in file.read_text()
    assert not file.exists()


def test_a_lock_in_this_process_holds_too_and_an_error_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "lock"

    def failing() -> None:
        with lock.hold(file, "Wait."):
            with pytest.raises(FedloomError, match=f"process {os.getpid()} .*Wait"), lock.hold(file, "Wait."):
                pass
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        failing()
    assert not lock.held(file)


def test_only_empty_folders_that_were_made_for_it_go(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    with lock.hold(old / "new" / "lock", "Wait."), lock.hold(old / "full" / "lock", "Wait."):
        (old / "full" / "kept").touch()
    assert [path.name for path in sorted(old.rglob("*"))] == ["full", "kept"]
    (old / "full" / "kept").unlink()
    with lock.hold(old / "full" / "lock", "Wait."):
        pass
    assert (old / "full").is_dir()


def test_a_lock_whose_folder_is_removed_ends_quietly(tmp_path: Path) -> None:
    file = tmp_path / "run" / "lock"
    with lock.hold(file, "Wait."):
        file.unlink()
        file.parent.rmdir()
        with lock.hold(file, "Wait."):  # another lock, of a file of that name
            assert lock.held(file)
    assert list(tmp_path.iterdir()) == []


def test_who_only_asks_stops_nobody(tmp_path: Path) -> None:
    """A question holds the lock for a moment; who wants it tries again."""
    file = tmp_path / "lock"
    with holder(file) as process:
        process.stdin.close()  # type: ignore[union-attr]
        begun = time.monotonic()
        with lock.hold(file, "Wait."):  # it ends within the patience
            assert time.monotonic() - begun < 2 + lock.PATIENCE


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock, "_system_lock", unsupported)
    with pytest.warns(UserWarning, match="no locks .*Operation not supported"), lock.hold(tmp_path / "lock", "Wait."):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FedloomError, match=r"file/run: cannot be written: .*--out"),
        lock.hold(tmp_path / "file" / "run" / "lock", "Wait."),
    ):
        pass


def test_a_link_is_no_lock_and_what_it_leads_to_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another user's")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(other)
    with pytest.raises(FedloomError, match="cannot be written"), lock.hold(tmp_path / "run" / "lock", "Wait."):
        pass
    assert not lock.held(tmp_path / "run" / "lock")
    assert other.read_text() == "another user's"
