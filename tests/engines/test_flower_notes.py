"""What a ServerApp says of itself: one server a run folder, for as long as its process lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.engines._flower.notes import Note

HOLDER = """
import sys
from pathlib import Path
from fedloom.engines._flower.notes import Note
with Note(Path(sys.argv[1])).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_servers_on_one_folder_are_refused(tmp_path: Path) -> None:
    note = Note(tmp_path / "runs" / "one")
    assert not note.held()
    with note.hold():
        assert note.held()
        words = rf"one: process {os.getpid()} on .+ is at work in it\. Fix: `flwr list`"
        with pytest.raises(FedloomError, match=words), Note(tmp_path / "runs" / "one").hold():
            pass
        assert note.held()  # the refusal did not let go of it
        assert not Note(tmp_path / "runs" / "two").held()
    assert not note.held()
    with note.hold():
        assert note.held()


def test_an_error_lets_go_of_the_folder(tmp_path: Path) -> None:
    note = Note(tmp_path / "run")
    with pytest.raises(ValueError, match="on purpose"), note.hold():
        raise ValueError("on purpose")
    assert not note.held()


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    note = Note(tmp_path / "run")
    command = [sys.executable, "-c", HOLDER, str(note.out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert note.held()
        with pytest.raises(FedloomError, match=f"process {process.pid} on"), note.hold():
            pass
        process.kill()
        process.wait()
        assert not note.held()


def test_a_note_is_written_read_cleared_and_removed(tmp_path: Path) -> None:
    note = Note(tmp_path / "run")
    assert note.read() == (0, "")
    with note.hold():
        note.write()
        assert note.read() == (os.getpid(), "")
        note.write("gave up")
        assert note.read() == (os.getpid(), "gave up")
        note.clear()
        assert note.read() == (0, "")
        note.write()
    note.remove()
    assert list(tmp_path.iterdir()) == []
    note.remove()  # there is nothing to remove any more


@pytest.mark.parametrize("text", ["", "{", "7", "{}", '{"process": "x", "error": ""}', "\0" * 9])
def test_a_broken_note_says_nothing(tmp_path: Path, text: str) -> None:
    note = Note(tmp_path / "run")
    note.file.write_text(text)
    assert note.read() == (0, "")
