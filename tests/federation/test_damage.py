"""Whatever happens to a run folder: a resumed run ends in the same bits and says what it fixed, or is refused by name.

Nothing is lost in silence, and what could not be used is still there.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedloom import engines
from fedloom.core.errors import FedloomError
from fedloom.report.runs import read
from tests.federation.folders import contents, run
from tests.federation.test_record import outcome

Damage = Callable[[Path], None]

LAST, BEFORE = "checkpoint/round-000003.safetensors", "checkpoint/round-000002.safetensors"
STATE = "checkpoint/clients/1/000003.safetensors"


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text("".join(change(file.read_text().splitlines(keepends=True))))

    return damage


def text(name: str, old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        blob = (folder / name).read_bytes()
        assert old.encode() in blob
        (folder / name).write_bytes(blob.replace(old.encode(), new.encode(), 1))

    return damage


def cut(name: str, size: float) -> Damage:
    def damage(folder: Path) -> None:
        blob = (folder / name).read_bytes()
        (folder / name).write_bytes(blob[: int(size * len(blob))])

    return damage


def gone(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            file = folder / name
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    return damage


def unreadable(name: str) -> Damage:
    def damage(folder: Path) -> None:  # a loop of links: an error of the system for root, too
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / name)

    return damage


def written(name: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def swapped(one: str, other: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.copyfile(folder / other, folder / one)

    return damage


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


GOES_ON: dict[str, tuple[str, Damage]] = {
    "the last checkpoint is cut short": (LAST, cut(LAST, 0.9)),
    "the last checkpoint is empty": (LAST, cut(LAST, 0)),
    "its round is another": (LAST, text(LAST, '\\"round\\": 3', '\\"round\\": 2')),
    "a score in it is another": (LAST, text(LAST, '\\"best\\": 0.', '\\"best\\": 1.')),
    "its seal has another name": (LAST, text(LAST, '\\"seal\\"', '\\"sEal\\"')),
    "it is that of the round before": (LAST, swapped(LAST, BEFORE)),
    "a client's last state is gone": (STATE, gone(STATE)),
    "a client's last state is cut short": (STATE, cut(STATE, 0.7)),
    "a client's last state is another client's": (STATE, swapped(STATE, STATE.replace("/1/", "/0/"))),
    "a client's last state is an older one": (STATE, swapped(STATE, STATE.replace("3.s", "2.s"))),
    "the last round's line is gone": ("rounds.jsonl", lines("rounds.jsonl", lambda all: all[:-1])),
    "the last round's line is half": ("rounds.jsonl", cut("rounds.jsonl", 0.99)),
    "the last turn's line is gone": ("clients.jsonl", lines("clients.jsonl", lambda all: all[:-1])),
    "the last turn's line has another loss": ("clients.jsonl", lambda f: _reword(f / "clients.jsonl", "loss", 0.125)),
    "before.json is gone": ("before.json", gone("before.json")),
    "before.json is cut short": ("before.json", cut("before.json", 0.5)),
    "before.json is a number": ("before.json", written("before.json", "42")),
    "before.json has other scores": ("before.json", text("before.json", "1.0", "0.0")),
    "partition.json is broken": ("partition.json", cut("partition.json", 0.5)),
    "baselines.json is broken": ("baselines.json", written("baselines.json", "[]")),
    "environment.jsonl is cut short": ("environment.jsonl", cut("environment.jsonl", 0.5)),
    "environment.jsonl has a number": ("environment.jsonl", lines("environment.jsonl", lambda all: ["7\n", *all])),
    "config.toml is gone": ("config.toml", gone("config.toml")),
    "config.toml is cut short": ("config.toml", cut("config.toml", 0.5)),
    "config.toml is empty": ("config.toml", cut("config.toml", 0)),
    "config.toml was changed": ("config.toml", text("config.toml", "lr = 0.1", "lr = 0.2")),
    "config.toml is no text": ("config.toml", written("config.toml", b"\xff\xfe\x00")),
    "run.id is gone": ("run.id", gone("run.id")),
    "run.id is empty": ("run.id", written("run.id", "")),
    "run.id is no text": ("run.id", written("run.id", b"\xff\x00")),
    "result.json is broken": ("result.json", written("result.json", '{"rounds": 4}')),
}
"""What is fixed: the file that is told, and the damage."""

IGNORED: dict[str, Damage] = {
    "a stray checkpoint": written("checkpoint/round-x.safetensors", "stray"),
    "a copy that a sync tool made": written("checkpoint/round-000003 (conflicted copy).safetensors", "stray"),
    "a round of seven zeros": written("checkpoint/round-0000003.safetensors", "stray"),
    "a stray folder": written("checkpoint/notes/mine.txt", "stray"),
    "a stray state": written("checkpoint/clients/1/x.safetensors", "stray"),
    "a stray client": written("checkpoint/clients/nobody/one.safetensors", "stray"),
    "a stray file among the clients": written("checkpoint/clients/stray.safetensors", "stray"),
    "notes": written("notes.txt", "mine"),
    "half a line of the round under way": lambda f: _add(f / "rounds.jsonl", '{"round": 4, "sc'),
    "zeros after a power cut": lambda f: _add(f / "clients.jsonl", "\0" * 4096),
    "lines of the round under way that are none": lambda f: _add(f / "clients.jsonl", "7\n[]\n{}\n"),
}
"""What is nobody's business, or of a round that is done again anyway: nothing need be told."""

REFUSED: dict[str, tuple[str, Damage]] = {
    "both checkpoints are cut short": (LAST, both(cut(LAST, 0.5), cut(BEFORE, 0.5))),
    "the last checkpoint cannot be read": (LAST, unreadable(LAST)),
    "the checkpoints are gone": ("rounds.jsonl", gone("checkpoint")),
    "the checkpoints and the lines are gone": (
        "clients",
        both(gone(LAST, BEFORE), gone("rounds.jsonl"), gone("clients.jsonl")),
    ),
    "a client's states are gone": ("clients/1", gone("checkpoint/clients/1")),
    "all states are gone": ("clients/0", gone("checkpoint/clients")),
    "a client's state cannot be read": (STATE, unreadable(STATE)),
    "rounds.jsonl is gone": ("rounds.jsonl", gone("rounds.jsonl")),
    "rounds.jsonl is half": ("rounds.jsonl: line 2", cut("rounds.jsonl", 0.5)),
    "rounds.jsonl cannot be read": ("rounds.jsonl", unreadable("rounds.jsonl")),
    "rounds.jsonl has a number": ("rounds.jsonl", lines("rounds.jsonl", lambda all: ["7\n", *all])),
    "rounds.jsonl has a renamed key": ("line 1: round", text("rounds.jsonl", '"round"', '"rounb"')),
    "rounds.jsonl has a line twice": ("rounds.jsonl", lines("rounds.jsonl", lambda all: [all[0], *all])),
    "clients.jsonl is gone": ("clients.jsonl", gone("clients.jsonl")),
    "clients.jsonl is half": ("clients.jsonl: line 5", cut("clients.jsonl", 0.5)),
    "clients.jsonl has a renamed key": ("line 1: client", text("clients.jsonl", '"client"', '"clienb"')),
    "clients.jsonl has another loss": ("clients.jsonl", text("clients.jsonl", '"loss": 0.', '"loss": 9.')),
    "config.toml cannot be read": ("config.toml", unreadable("config.toml")),
    "run.id is another": ("run.id", written("run.id", "0123456789abcdef\n")),
    "run.id cannot be read": ("run.id", unreadable("run.id")),
    "partition.json cannot be read": ("partition.json", unreadable("partition.json")),
    "before.json cannot be read": ("before.json", unreadable("before.json")),
}
"""What ends the run before anything is changed: what is named, and the damage."""


def _add(file: Path, more: str) -> None:
    with file.open("a") as opened:
        opened.write(more)


def _reword(file: Path, key: str, value: float) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1][key] = value
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def damaged(made: Path, tmp_path: Path, damage: Damage, source: str = "stopped") -> Path:
    folder = tmp_path / "run"
    shutil.copytree(made / source, folder)
    damage(folder)
    return folder


def shown(folder: Path) -> str:
    """What ``fedloom report`` says of a folder: an error in words, or nothing."""
    try:
        read(folder)
    except FedloomError as error:
        return str(error)
    return ""


def check_nothing_is_lost(folder: Path, before: dict[str, bytes]) -> None:
    """Each file that was there has its place still, or lies aside, but for what every run drops as it comes on."""
    now = contents(folder)
    aside = {name.split("/", 2)[2]: blob for name, blob in now.items() if name.startswith("damaged/")}
    for name, blob in before.items():
        old = name.startswith("checkpoint/") and any(f"00000{n}.s" in name for n in (1, 2, 3))
        assert now.get(name) is not None or aside.get(name) == blob or old, name


@pytest.mark.parametrize("name", GOES_ON)
def test_what_can_be_mended_is_mended_and_told(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    told, damage = GOES_ON[name]
    folder = damaged(made, tmp_path, damage)
    before = contents(folder)
    shown(folder)
    assert contents(folder) == before
    run(folder, resume=True)
    assert outcome(folder) == outcome(made / "whole")
    messages = " ".join(record.getMessage() for record in caplog.records)
    assert str(folder / told) in messages
    check_nothing_is_lost(folder, before)
    if told in before and told != "before.json":  # what could not be used is there as it was
        assert (folder / "damaged" / "1" / told).read_bytes() == before[told]
    assert shown(folder) == ""


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_nobodys_business_is_left_alone(made: Path, tmp_path: Path, name: str) -> None:
    folder = damaged(made, tmp_path, IGNORED[name])
    before = contents(folder)
    shown(folder)
    run(folder, resume=True)
    assert outcome(folder) == outcome(made / "whole")
    check_nothing_is_lost(folder, before)
    assert not (folder / "damaged").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_mended_is_refused_by_name_and_left_as_it_is(made: Path, tmp_path: Path, name: str) -> None:
    told, damage = REFUSED[name]
    folder = damaged(made, tmp_path, damage)
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(FedloomError, match=r"(?i)copy|see that this user") as error:
            run(folder, resume=True)
        assert told in str(error.value)
        assert contents(folder) == before
    shown(folder)


EXPORTED: dict[str, tuple[str, Damage]] = {
    "the last checkpoint is cut short": ("", cut(LAST, 0.5)),
    "both checkpoints are cut short": (LAST, both(cut(LAST, 0.5), cut(BEFORE, 0.5))),
    "the last checkpoint cannot be read": (LAST, unreadable(LAST)),
    "a client's state is gone": (STATE, gone(STATE)),
    "config.toml was changed": ("config.toml", text("config.toml", "alpha = 2.0", "alpha = 4.0")),
    "the lines are gone": ("", gone("rounds.jsonl", "clients.jsonl")),
}
"""What an export says of damage: the file that is named, or nothing where the adapter is whole."""


@pytest.mark.parametrize("name", EXPORTED)
def test_an_export_is_of_what_was_trained_or_refused(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    told, damage = EXPORTED[name]
    folder = damaged(made, tmp_path, damage)
    before = contents(folder)
    if told:
        with pytest.raises(FedloomError, match=told):
            engines.export(folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        engines.export(folder, tmp_path / "out")
        assert (tmp_path / "out" / "adapter.safetensors").exists()
        assert ("The checkpoint of round 2 is used" in caplog.text) == ("cut short" in name)
    assert contents(folder) == before


def at_random(folder: Path, draw: random.Random) -> str:
    """Do something to one file of a folder; says what."""
    name = draw.choice(sorted(contents(folder)))
    file, what = folder / name, draw.choice(["flip", "flip", "flip", "cut", "zeros", "twice", "gone", "another's"])
    blob = bytearray(file.read_bytes())
    first, last = sorted(draw.randrange(len(blob) + 1) for _ in range(2))
    if what == "flip" and blob:
        blob[draw.randrange(len(blob))] ^= 1 << draw.randrange(8)
    elif what == "cut":
        del blob[first:]
    elif what == "zeros":
        blob[first:last] = bytes(last - first)
    elif what == "twice":
        blob[last:last] = blob[first:last]
    elif what == "another's":
        blob[:] = (folder / draw.choice(sorted(contents(folder)))).read_bytes()
    file.write_bytes(blob)
    if what == "gone":
        file.unlink()
    return f"{what} {name} {first} {last}"


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("source", ["stopped", "whole"])
def test_whatever_happens_to_a_file_the_bits_are_the_same_or_the_run_is_refused(
    made: Path, tmp_path: Path, source: str, seed: int
) -> None:
    folder = damaged(made, tmp_path, lambda folder: None, source)
    if source == "whole" and seed % 2:
        (folder / "result.json").unlink()  # the last step was not done
    what = at_random(folder, random.Random(f"{source} {seed}"))
    before = contents(folder)
    shown(folder)
    refusal = ""
    try:
        run(folder, resume=True)
    except FedloomError as error:
        refusal = str(error)
    if refusal:
        assert what.split()[1].split("/")[-1] in refusal, what
        return
    assert outcome(folder) == outcome(made / "whole"), what
    check_nothing_is_lost(folder, before)
