"""The long fuzzing run: its table, its exit status, and that a mutation can be shown again."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import fuzz
from tests.fuzz.harness import Tally, input_of
from tests.fuzz.targets import every

SCRIPT = Path(fuzz.__file__)


def test_it_prints_a_line_a_decoder_and_ends_well() -> None:
    command = [sys.executable, str(SCRIPT), "--mutations", "40", "--only", "letter"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if " letter " in line]
    assert [cell.strip() for cell in line.split("\u2502")[1:3]] == ["letter", "40"]


def test_a_fault_ends_it_with_one_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Tally("letter", mutations=3, refused=2)
    bad.blame("KeyError (fedloom/site/letter.py, line 7)", "'kind'")
    monkeypatch.setattr(fuzz, "_tallies", lambda *_: iter([bad]))
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--only", "letter"])
    with pytest.raises(SystemExit) as ended:
        fuzz.main()
    assert ended.value.code == 1
    assert "letter: mutation 2 and 0 more: KeyError (fedloom/site/letter.py, line 7) 'kind'" in capsys.readouterr().out


def test_a_mutation_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--only", "scores", "--show", "5"])
    fuzz.main()
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == input_of(every(tmp_path)["scores"], 5) + b"\n"
