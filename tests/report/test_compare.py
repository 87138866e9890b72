"""Cells of a comparison: which there are, where they lie, and that only missing ones run."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fedloom import engines
from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.report import compare
from tests.engines.test_run import preset
from tests.federation import toy
from tests.federation.test_record import outcome


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    toy.use(monkeypatch)
    file = tmp_path / "toy.toml"
    file.write_text(toy.toml(method='name = "fedprox"\nmu = 0.5'))
    return str(file)


def test_every_combination_seeds_innermost(source: str) -> None:
    found = compare.cells(source, [], ["method.name=fedavg,scaffold", "client.lr=0.1,0.2"], seeds=2)
    assert [(cell.axes["method"], cell.axes["client.lr"], cell.seed) for cell in found] == [
        (method, lr, seed) for method in ("fedavg", "scaffold") for lr in ("0.1", "0.2") for seed in (0, 1)
    ]
    for cell in found:
        experiment = cell.experiment
        assert experiment.method.name == cell.axes["method"]
        assert (str(experiment.client.lr), experiment.seed) == (cell.axes["client.lr"], cell.seed)
    assert found[1].folder == Path("cells/method=fedavg,client.lr=0.1/seed-1")
    assert len({cell.folder for cell in found}) == 8


def test_without_axes_the_method_stands_between_its_bounds(source: str) -> None:
    found = compare.cells(source, ["seed=5"], [], seeds=1)
    assert [cell.axes["method"] for cell in found] == ["local", "fedprox", "centralised"]
    assert [cell.seed for cell in found] == [5, 5, 5]
    alone = compare.cells(source, ["method=local"], [], seeds=1)
    assert [cell.axes["method"] for cell in alone] == ["local", "centralised"]


def test_the_experiments_own_choice_keeps_its_options_and_others_begin_fresh(source: str) -> None:
    own, other = compare.cells(source, [], ["method.name=fedprox,fedavg"], seeds=1)
    assert own.experiment.method.options == {"mu": 0.5}
    assert other.experiment.method.options == {}
    tuned, *_ = compare.cells(source, [], ["method.mu=1.0,2.0"], seeds=1)
    assert tuned.experiment.method.options == {"mu": 1.0}


@pytest.mark.parametrize("choice", ["method=fedprox", "method.name=fedprox"])
def test_the_order_of_axes_drops_no_option(source: str, choice: str) -> None:
    Path(source).write_text(toy.toml())
    for axes in (["method.mu=0.1,1.0", choice], [choice, "method.mu=0.1,1.0"]):
        found = compare.cells(source, [], axes, seeds=1)
        assert [cell.experiment.method.options for cell in found] == [{"mu": 0.1}, {"mu": 1.0}]


def test_an_option_set_for_all_cells_stays_or_is_refused(source: str) -> None:
    (cell,) = compare.cells(source, ["scenario.alpha=0.1"], ["scenario=quantity"], seeds=1)
    assert cell.experiment.scenario.options == {"alpha": 0.1}
    with pytest.raises(FedloomError, match=r"\[scenario\] 'iid' has no key 'alpha'"):
        compare.cells(source, ["scenario.alpha=0.1"], ["scenario=quantity,iid"], seeds=1)


def test_the_bounds_do_not_take_the_methods_options(source: str) -> None:
    found = compare.cells(source, ["method.mu=2.0", "rounds=1"], [], seeds=1)
    assert [cell.experiment.method.options for cell in found] == [{}, {"mu": 2.0}, {}]
    assert [cell.experiment.rounds for cell in found] == [1, 1, 1]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["method.name"], "expected key=value,value"),
        (["method.name=,"], "expected key=value,value"),
        (["method=fedavg", "method.name=local"], "given twice"),
        (["seed=1,2"], "--seeds"),
        (["methods=fedavg"], "unknown key"),
        (["method=fedavg,fedavgg"], "'fedavg'"),
        (["rounds=1,none"], "rounds"),
    ],
)
def test_axes_that_are_refused(source: str, axes: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=words):
        compare.cells(source, [], axes, seeds=1)


def test_a_value_given_twice_is_one_cell(source: str) -> None:
    assert len(compare.cells(source, [], ["rounds=1,1,2"], seeds=1)) == 2


def run(experiment: Experiment, folder: Path) -> None:
    engines.run(experiment, folder)


def test_finished_cells_do_not_run_again_and_the_tables_hold_all(source: str, tmp_path: Path) -> None:
    found = compare.cells(source, [], ["method=local,fedavg"], seeds=2)
    out = tmp_path / "out"
    assert list(compare.run_missing(found[:3], out, run)) == [(cell, "") for cell in found[:3]]
    ran: list[Experiment] = []
    again = compare.run_missing(found, out, lambda one, folder: (ran.append(one), run(one, folder))[1])
    assert list(again) == [(cell, "") for cell in found]
    assert ran == [cell.experiment for cell in found[3:]]
    rows = compare.write(found, out)
    assert [(row.axes["method"], row.stats["final"].n) for row in rows] == [("local", 2), ("fedavg", 2)]
    finals = [engines.run(c.experiment, out / c.folder, resume=True)["final"] for c in found[2:]]
    assert rows[1].stats["final"].mean == pytest.approx(sum(finals) / 2)
    assert "±" in (out / "table.md").read_text(encoding="utf-8")
    assert (out / "table.csv").read_text(encoding="utf-8").startswith("method,n,zero_shot")
    assert {file.stem for file in out.glob("*.svg")} == {file.stem for file in out.glob("*.png")} == {"scores", "bytes"}


def test_a_finished_cell_of_an_experiment_that_was_changed_since_is_refused(source: str, tmp_path: Path) -> None:
    before = compare.cells(source, ["rounds=1"], ["method=local"], seeds=1)
    list(compare.run_missing(before, tmp_path / "out", run))
    after = compare.cells(source, ["rounds=2"], ["method=local"], seeds=1)
    with pytest.raises(FedloomError, match="rounds: 1 there, 2 here"):
        list(compare.run_missing(after, tmp_path / "out", run))


COMPARE = """
[compare]
seeds = 2
[compare.axes]
"channel.up" = [[], ["bf16"], '["feedback","bf16"] method=fedlpp channel.down=["fp16"]']
method = ["fedavg", "fedopt method.eta=0.1", "fedopt method.eta=0.2", "fedyogi method.eta=0.1"]
"""


class TestTheFilesOwnAxes:
    def test_are_every_combination_with_short_names(self, source: str) -> None:
        Path(source).write_text(toy.toml() + COMPARE)
        found = compare.cells(source, [], [], seeds=1)
        assert [cell.axes["channel.up"] for cell in found[::4]] == ["none", "bf16", "feedback + bf16"]
        assert [cell.axes["method"] for cell in found[:4]] == [
            "fedavg", "fedopt method.eta=0.1", "fedopt method.eta=0.2", "fedyogi"
        ]  # fmt: skip
        assert [cell.experiment.method.options for cell in found[:4]] == [{}, {"eta": 0.1}, {"eta": 0.2}, {"eta": 0.1}]
        assert found[4].experiment.channel.up == ["bf16"]
        assert found[9].experiment.channel.down == ["fp16"]
        assert len({cell.folder for cell in found}) == 12
        assert found[4].folder.parent.name == "channel.up=bf16,method=fedavg"
        assert found[3].folder.parent.name == "channel.up=none,method=fedyogi-method.eta=0.1"

    def test_give_way_to_those_of_the_command(self, source: str) -> None:
        Path(source).write_text(toy.toml() + COMPARE)
        texts = ['channel.up=[],["feedback","bf16"]', "method=fedavg,fedyogi method.eta=0.1"]
        found = compare.cells(source, [], texts, seeds=1)
        assert [cell.experiment.channel.up for cell in found] == [[], [], ["feedback", "bf16"], ["feedback", "bf16"]]
        assert [cell.experiment.method.name for cell in found] == ["fedavg", "fedyogi"] * 2

    def test_are_no_part_of_the_run(self, source: str) -> None:
        Path(source).write_text(toy.toml() + COMPARE)
        assert config.comparison(source).seeds == 2
        assert "compare" not in config.dump(config.load(source))

    @pytest.mark.parametrize(
        ("line", "words"),
        [("seed = 2", "compare.seeds"), ("seeds = 0", "compare.seeds = 0"), ("axes = {rounds = []}", "compare.axes")],
    )
    def test_are_checked(self, source: str, line: str, words: str) -> None:
        Path(source).write_text(toy.toml() + f"[compare]\n{line}\n")
        with pytest.raises(FedloomError, match=words):
            config.comparison(source)

    def test_of_the_presets_pass_every_check(self) -> None:
        for name in ("lora-aggregation", "bytes"):
            found = compare.cells(name, [], [], seeds=1)
            assert len({cell.folder for cell in found}) == len(found)


def test_a_run_that_fails_leaves_the_others(source: str, tmp_path: Path) -> None:
    found = compare.cells(source, [], ["method=local,fedavg"], seeds=1)

    def fails(experiment: Experiment, folder: Path) -> None:
        if experiment.method.name == "local":
            raise FedloomError("all clients diverged.")
        run(experiment, folder)

    done = list(compare.run_missing(found, tmp_path / "out", fails))
    assert done == [(found[0], "all clients diverged."), (found[1], "")]
    rows = compare.write(found, tmp_path / "out", done[:1])
    assert [row.axes["method"] for row in rows] == ["fedavg"]
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table.endswith("- not finished: method=local seed=0: all clients diverged.\n")
    with pytest.raises(FedloomError, match="not one cell finished"):
        compare.write(found, tmp_path / "nothing")


def test_processes_side_by_side_end_in_the_same_results(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    source = str(preset(tiny, tmp_path))
    sets = ["rounds=1", "engine.threads=1", "scenario.clients=3", "task.train=9"]
    found = compare.cells(source, sets, ["method=fedavg,scaffold"], seeds=1)
    assert sorted(reason for _, reason in compare.run_missing(found, tmp_path / "two", run, jobs=2)) == ["", ""]
    list(compare.run_missing(found, tmp_path / "one", run))
    for cell in found:
        assert outcome(tmp_path / "one" / cell.folder) == outcome(tmp_path / "two" / cell.folder)


KILLED = """
import sys
from pathlib import Path
from fedloom.report import compare
if __name__ == "__main__":
    found = compare.cells(sys.argv[1], ["engine.threads=1", "rounds=1000"], ["method=fedavg,scaffold"], seeds=1)
    list(compare.run_missing(found, Path(sys.argv[2]), print, jobs=2))
"""


def test_processes_end_with_the_one_that_started_them(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    parent = psutil.Popen([sys.executable, str(script), str(preset(tiny, tmp_path)), str(tmp_path / "out")])
    try:
        until(lambda: len(list(tmp_path.glob("out/cells/*/*/rounds.jsonl"))) == 2)
        children = parent.children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
