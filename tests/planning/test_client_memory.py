"""A real client process without the language model takes what its plan says, and sends it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedloom import models
from fedloom.planning.plan import plan
from fedloom.split.desk import Desk
from tests.federation import big, toy
from tests.split.hosts import Place

Tiny = Callable[[str], Path]
ROOT = Path(__file__).parents[2]
BATCH = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return big.save(tmp_path_factory.mktemp("big"))


@pytest.fixture(scope="module")
def served(folder: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, str]]:
    """Hosts of the tiny model and of the big one: their addresses."""
    place = Place(tmp_path_factory.mktemp("place"))
    hosts = [place.host(Desk(models.served(str(each)).language)) for each in (tiny("llava"), folder)]
    for host in hosts:
        host.start()
    yield place, ",".join(host.address for host in hosts)
    for host in hosts:
        host.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux alone")
@pytest.mark.parametrize("wire", ["full", "low-rank"])
def test_a_client_takes_and_sends_what_its_plan_says(
    wire: str, folder: Path, served: tuple[Place, str], tiny: Tiny
) -> None:
    place, addresses = served
    given = [
        str(folder),
        str(tiny("llava")),
        addresses,
        place.token["a"],
        str(place.folder / "ca.pem"),
        wire,
        str(BATCH),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.federation.big", *given], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sets = [f"model.name={folder}", "adapter.kind=nano", "adapter.rank=64", "adapter.alpha=64", "adapter.where=[]"]
    sets += [f"split.wire={wire}", f"client.batch_size={BATCH}", "client.optimizer=adamw"]
    planned = plan(toy.experiment(*sets), tokens=found["tokens"], vocabulary=found["rows"]).split
    assert planned is not None
    assert found["memory"] == pytest.approx(sum(planned.client.values()), rel=0.05)
    step = next(each for each in planned.crossings if each.wire == wire)
    assert found["up"] == pytest.approx(step.up, rel=0.02)
    assert found["down"] == pytest.approx(step.down, rel=0.02)
