"""Sealed parcels, checkpoints and client states: every change is told, what cannot be read again is not written."""

import os
import re
import resource
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from fedloom import engines
from fedloom.core import tree, wire
from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.federation import sealed
from fedloom.federation.checkpoints import Checkpoint, Checkpoints
from fedloom.federation.kept import Kept
from fedloom.federation.sealed import Damaged
from tests.federation import toy
from tests.federation.folders import SETS, contents, run
from tests.federation.test_record import outcome

PARCEL = Parcel({"adapter": {"a": torch.arange(6.0), "b": torch.ones(2, 2)}, "none": {}}, {"best": 0.25, "round": 3})


def test_no_bit_goes_unnoticed(tmp_path: Path) -> None:
    """A bit of every byte, one after the other: it is told, or what is read is the very same."""
    file = tmp_path / "one"
    mark = sealed.write(file, PARCEL)
    whole, told = file.read_bytes(), 0
    assert sealed.read(file)[1] == mark == sealed.told(file)
    for place in range(len(whole)):
        blob = bytearray(whole)
        blob[place] ^= 1 << place % 8
        file.write_bytes(blob)
        try:
            found, seal = sealed.read(file)
        except Damaged:
            told += 1
            continue
        if seal:
            assert seal == mark == sealed.seal(found)
        else:  # its name is another: then checkpoint and state lack what those of older releases have
            assert len(found.facts) == 3
            assert mark in found.facts.values()
    assert told > 0.98 * len(whole)


@pytest.mark.parametrize(
    ("state", "facts", "words"),
    [
        ({"a": torch.tensor([1.0, float("nan")])}, {}, "NaN or infinity"),
        ({"a": torch.tensor([float("inf")])}, {}, "NaN or infinity"),
        ({"a": torch.ones(1)}, {"score": float("nan")}, "fact 'score' is nan"),
        ({"a": torch.ones(1)}, {"best": float("-inf")}, "fact 'best' is -inf"),
    ],
)
def test_a_state_that_could_not_be_read_again_is_not_saved(
    tmp_path: Path, state: tree.Tree, facts: dict[str, float | int | str], words: str
) -> None:
    all = Checkpoints(tmp_path)
    all.save(Checkpoint(1, {"adapter": {"a": torch.ones(1)}}, {"best": 0.5}))
    before = contents(tmp_path)
    for number in (1, 2):
        with pytest.raises(FedloomError, match=f"after round {number} cannot be saved: .*{words}.*before it are saved"):
            all.save(Checkpoint(number, {"adapter": state}, facts))
    assert contents(tmp_path) == before
    assert (all.last() or pytest.fail("none")).facts == {"best": 0.5}


def test_a_client_does_not_keep_what_could_not_be_read_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with pytest.raises(FedloomError, match="NaN"):
        kept.write("a", 1, {"control": {"w": torch.tensor([float("nan")])}}, counted=0)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("size", [0, 7, 8, 60, -1])
def test_a_state_cut_short_is_refused_by_client_and_file(tmp_path: Path, size: int) -> None:
    kept = Kept(tmp_path)
    kept.write("a", 1, {"control": {"w": torch.ones(3)}}, counted=0)
    file = kept.file("a", 1)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(FedloomError, match=f"client 'a': {file} is damaged.*from a copy"):
        kept.read("a", 1)


def test_a_state_of_another_client_or_turn_is_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for client, number in (("a", 1), ("a", 2), ("b", 2)):
        kept.write(client, number, {"control": {"w": torch.ones(3)}}, counted=number - 1)
    for source in (("a", 1), ("b", 2)):
        shutil.copyfile(kept.file(*source), kept.file("a", 2))
        with pytest.raises(FedloomError, match="it is not what this client kept in round 2"):
            kept.read("a", 2)


def test_files_of_other_names_are_nobodys_business(tmp_path: Path) -> None:
    kept, all = Kept(tmp_path / "clients"), Checkpoints(tmp_path)
    kept.write("a", 1, {"control": {"w": torch.ones(3)}}, counted=0)
    all.save(Checkpoint(1, {"adapter": {"a": torch.ones(1)}}, {}))
    for name in ("round-x.safetensors", "round-2.safetensors", "round-000002.safetensors.bak", "round-.safetensors"):
        (tmp_path / name).touch()
    for name in ("x.safetensors", "2.safetensors", "-00002.safetensors", "000002 (copy).safetensors"):
        (tmp_path / "clients" / "a" / name).touch()
    assert all.rounds() == [1]
    assert kept.after(-1) == [kept.file("a", 1)]
    assert kept.read("a", 8)["control"]["w"].tolist() == [1, 1, 1]


def test_the_order_is_that_of_numbers(tmp_path: Path) -> None:
    all = Checkpoints(tmp_path)
    for number in (999_998, 999_999, 1_000_000):
        all.save(Checkpoint(number, {"adapter": {"a": torch.ones(1)}}, {}))
    assert all.rounds() == [999_999, 1_000_000]
    assert (all.last() or pytest.fail("none")).round == 1_000_000


def older(folder: Path) -> None:
    """Make a folder's checkpoints and states such as releases before seals wrote."""
    for file in folder.glob("checkpoint/**/*.safetensors"):
        parcel, _ = sealed.read(file)
        facts = {key: value for key, value in parcel.facts.items() if not key.startswith("folder.")}
        prints = {f"print.{slot}": tree.fingerprint(tensors) for slot, tensors in parcel.trees.items()}
        state = file.parent.name != "checkpoint"
        file.write_bytes(wire.pack(Parcel(parcel.trees, {} if state else {**facts, **prints})))


OLD: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nothing": ("", lambda folder: None),
    "run.id is gone": ("", lambda folder: (folder / "run.id").unlink()),
    "no configuration": ("No checkpoint holds a copy", lambda folder: (folder / "config.toml").unlink()),
    "no lines": ("one line of each round from 1 to 3", lambda folder: (folder / "rounds.jsonl").unlink()),
    "a renamed key": (
        "rounds.jsonl, line 1: round",
        lambda folder: _rename(folder / "rounds.jsonl"),
    ),
}


def _rename(file: Path) -> None:
    file.write_text(file.read_text().replace('"round"', '"rounb"', 1))


@pytest.mark.parametrize("name", OLD)
def test_a_run_of_an_older_release_is_gone_on_with(made: Path, tmp_path: Path, name: str) -> None:
    refusal, damage = OLD[name]
    shutil.copytree(made / "stopped", tmp_path / "run")
    older(tmp_path / "run")
    damage(tmp_path / "run")
    if refusal:
        with pytest.raises(FedloomError, match=refusal):
            run(tmp_path / "run", resume=True)
        return
    run(tmp_path / "run", resume=True)
    assert outcome(tmp_path / "run") == outcome(made / "whole")


NOBODY = 65534


@pytest.fixture
def elsewhere(made: Path) -> Iterator[Path]:
    """A stopped run in a place that any user reaches, who is made its owner."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "run"
        shutil.copytree(made / "stopped", folder)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(stat.S_IRWXU)


def become_nobody() -> None:
    """Be a user whom permissions bind."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def apart(begin: Callable[[], None], work: Callable[[], object]) -> str:
    """Do something in a process of its own; the error that it ends in."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = "no error"
        try:
            begin()
            work()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


PLACES = {
    "checkpoint/round-000003.safetensors": (0o000, "cannot be read"),
    "checkpoint/round-000002.safetensors": (0o000, "no error"),
    "checkpoint/clients/1/000003.safetensors": (0o000, "cannot be read"),
    "rounds.jsonl": (0o000, "cannot be read"),
    "clients.jsonl": (0o000, "cannot be read"),
    "config.toml": (0o000, "cannot be read"),
    "run.id": (0o000, "cannot be read"),
    "before.json": (0o000, "cannot be read"),
    "environment.jsonl": (0o400, "Permission denied"),
    "checkpoint": (0o500, "Permission denied"),
    ".": (0o500, "cannot be written"),
}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize("place", PLACES)
def test_what_this_user_may_not_read_or_write_is_named_and_stays(
    elsewhere: Path,
    made: Path,
    place: str,
) -> None:
    mode, words = PLACES[place]
    run(made / "whole", resume=True)  # so that the child has all modules
    checkpoints = {name: blob for name, blob in contents(elsewhere).items() if "round-00000" in name}
    (elsewhere / place).chmod(mode)
    experiment = toy.experiment(toy.BENT, *SETS)
    told = apart(become_nobody, lambda: engines.run(experiment, elsewhere, resume=True))
    assert told == words if words == "no error" else told.startswith("FedloomError: ")
    assert words in told
    assert str(elsewhere / place).removesuffix("/.") in told or words == "no error"
    if words != "no error":
        now = contents(elsewhere)
        assert checkpoints.items() <= now.items()
        (elsewhere / place).chmod(0o700)
        assert apart(become_nobody, lambda: engines.run(experiment, elsewhere, resume=True)) == "no error"
    assert outcome(elsewhere) == outcome(made / "whole")


@pytest.mark.parametrize("size", range(0, 3600, 450))
def test_a_disk_that_takes_no_more_ends_the_run_and_what_was_saved_goes_on(
    made: Path, tmp_path: Path, size: int
) -> None:
    """A limit on the size of files, at which the system refuses to write, wherever in a file that is."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    out = tmp_path / "run"
    told = apart(limit, lambda: run(out))
    assert re.fullmatch(rf"FedloomError: {out}: .*File too large.* What was finished is saved: .*resume\.", told)
    run(out, resume=True)
    assert outcome(out) == outcome(made / "whole")
    assert not (out / "damaged").exists()
