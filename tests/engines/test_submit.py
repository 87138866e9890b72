"""What follows a run from outside says what it was asked for and did not do, and misses no moment by asking Flower."""

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedloom.deploy.loopback import Kill
from fedloom.engines._flower.submit import Follower, Place
from tests.engines import sited
from tests.engines.noted import Noted
from tests.report.made_up import change, run_folder


@dataclass
class Finished:
    """Flower, where every run is over at once; ``asked``: how often it was asked about one."""

    out: Path
    asked: int = 0
    left_out: tuple[str, ...] = ("rounds.jsonl", "clients.jsonl")

    def submit(self, app: Path, federation: str) -> str:
        change(run_folder(self.out.parent, self.out.name), final=0.5, rounds=2)
        for name in self.left_out:
            (self.out / name).unlink()
        return "1"

    def status(self, run: str) -> tuple[str, str]:
        self.asked += 1
        return "running", ""


def follower(out: Path, *kills: str) -> tuple[Follower, Noted, Finished]:
    flower, watch = Finished(out), Noted()
    parsed = [Kill.parse(text, 3) for text in kills]
    experiment = sited.experiment("engine.name=flower")
    return Follower(experiment, out, Place(flower), watch, lambda: False, parsed), watch, flower


def test_a_fault_that_did_not_happen_is_told(tmp_path: Path) -> None:
    given, watch, _ = follower(tmp_path / "run", "worker:1@2", "host@3")
    assert given.run(tmp_path / "app")["final"] == 0.5
    assert watch.told == [
        "submitted",
        "worker of site 1 was not killed: no site was seen at work from round 2 on",
        "host was not killed: no site was seen at work from round 3 on",
    ]


@pytest.mark.parametrize(("kills", "asked"), [((), 1), (("host@3",), 0)])
def test_flower_is_not_asked_while_a_fault_is_to_come(tmp_path: Path, kills: tuple[str, ...], asked: int) -> None:
    """Asking takes a process, and seconds: a round may be over by then."""
    given, _, flower = follower(tmp_path / "run", *kills)
    given._asked -= 3600.0
    with given.note.hold():
        assert given._flower_runs("1")
    assert flower.asked == asked


@pytest.mark.parametrize("damage", ["7\n", "{\n", '{"round": 13}\n', "\0\n", '{"round": 13, "sc'])
def test_lines_that_are_broken_are_the_servers_business(tmp_path: Path, damage: str) -> None:
    given, _, flower = follower(tmp_path / "run")
    flower.left_out = ()
    flower.submit(tmp_path, "")
    with (flower.out / "rounds.jsonl").open("a") as file:
        file.write(damage)
    given._tell()
    assert given.shown == 12
