"""Cells of a comparison and the trials before them: which there are, what they are called, and where they lie."""

from pathlib import Path

import pytest

from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.core.files import file_name
from fedloom.sweep.axes import labels
from fedloom.sweep.cells import TUNING_SEED, comparison
from tests.federation import toy
from tests.sweep.compared_toy import cells


def test_every_combination_seeds_innermost(source: str) -> None:
    found = cells(source, [], ["method.name=fedavg,scaffold", "client.lr=0.1,0.2"], seeds=2)
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
    found = cells(source, ["seed=5"], [], seeds=1)
    assert [cell.axes["method"] for cell in found] == ["local", "fedprox", "centralised"]
    assert [cell.seed for cell in found] == [5, 5, 5]
    alone = cells(source, ["method=local"], [], seeds=1)
    assert [cell.axes["method"] for cell in alone] == ["local", "centralised"]


def test_the_experiments_own_choice_keeps_its_options_and_others_begin_fresh(source: str) -> None:
    own, other = cells(source, [], ["method.name=fedprox,fedavg"], seeds=1)
    assert own.experiment.method.options == {"mu": 0.5}
    assert other.experiment.method.options == {}
    tuned, *_ = cells(source, [], ["method.mu=1.0,2.0"], seeds=1)
    assert tuned.experiment.method.options == {"mu": 1.0}


@pytest.mark.parametrize("choice", ["method=fedprox", "method.name=fedprox"])
def test_the_order_of_axes_drops_no_option(source: str, choice: str) -> None:
    Path(source).write_text(toy.toml())
    for axes in (["method.mu=0.1,1.0", choice], [choice, "method.mu=0.1,1.0"]):
        found = cells(source, [], axes, seeds=1)
        assert [cell.experiment.method.options for cell in found] == [{"mu": 0.1}, {"mu": 1.0}]


def test_an_option_set_for_all_cells_stays_or_is_refused(source: str) -> None:
    (cell,) = cells(source, ["scenario.alpha=0.1"], ["scenario=quantity"], seeds=1)
    assert cell.experiment.scenario.options == {"alpha": 0.1}
    with pytest.raises(FedloomError, match=r"\[scenario\] 'iid' has no key 'alpha'"):
        cells(source, ["scenario.alpha=0.1"], ["scenario=quantity,iid"], seeds=1)


def test_the_bounds_do_not_take_the_methods_options(source: str) -> None:
    found = cells(source, ["method.mu=2.0", "rounds=1"], [], seeds=1)
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
        (["channel.up=[] rounds=2", "rounds=1,3"], r"rounds is set by two axes, channel.up .* and rounds"),
    ],
)
def test_axes_that_are_refused(source: str, axes: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=words):
        cells(source, [], axes, seeds=1)


def test_a_value_given_twice_is_one_cell(source: str) -> None:
    assert len(cells(source, [], ["rounds=1,1,2"], seeds=1)) == 2


COMPARE = """
[compare]
seeds = 2
[compare.axes]
"channel.up" = [[], ["bf16"], '["feedback","bf16"] sampling.fraction=0.5 channel.down=["fp16"]']
method = ["fedavg", "fedopt method.eta=0.1", "fedopt method.eta=0.2", "fedyogi method.eta=0.1"]
"""


def test_values_of_one_name_show_what_tells_them_apart() -> None:
    kind = "adapter.kind=lora-sb"
    svd, update = f"fed-sb {kind} adapter.init=svd", f"fed-sb {kind} adapter.init=update"
    assert labels([svd, update, "frlora adapter.init=svd", "fedprox", "fedprox method.mu=0.1"]) == {
        svd: "fed-sb adapter.init=svd",
        update: "fed-sb adapter.init=update",
        "frlora adapter.init=svd": "frlora",
        "fedprox": "fedprox",
        "fedprox method.mu=0.1": "fedprox method.mu=0.1",
    }


class TestTheFilesOwnAxes:
    def test_are_every_combination_with_short_names(self, source: str) -> None:
        Path(source).write_text(toy.toml() + COMPARE)
        found = cells(source, [], [], seeds=1)
        assert [cell.axes["channel.up"] for cell in found[::4]] == ["none", "bf16", "feedback + bf16"]
        assert [cell.axes["method"] for cell in found[:4]] == [
            "fedavg", "fedopt method.eta=0.1", "fedopt method.eta=0.2", "fedyogi"
        ]  # fmt: skip
        assert [cell.experiment.method.options for cell in found[:4]] == [{}, {"eta": 0.1}, {"eta": 0.2}, {"eta": 0.1}]
        assert found[4].experiment.channel.up == ["bf16"]
        assert found[9].experiment.channel.down == ["fp16"]
        assert len({cell.folder for cell in found}) == 12
        assert found[4].folder.parent.name == "channel.up=bf16,method=fedavg"
        assert found[3].folder.parent.name == file_name("channel.up=none,method=fedyogi method.eta=0.1")

    def test_give_way_to_those_of_the_command(self, source: str) -> None:
        Path(source).write_text(toy.toml() + COMPARE)
        texts = ['channel.up=[],["feedback","bf16"]', "method=fedavg,fedyogi method.eta=0.1"]
        found = cells(source, [], texts, seeds=1)
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
            found = cells(name, [], [], seeds=1)
            assert len({cell.folder for cell in found}) == len(found)


TUNE = """
[compare]
seeds = 2
tune = {"client.lr" = [0.1, 0.2]}
[compare.axes]
scenario = ["iid", "quantity scenario.alpha=0.5"]
method = ["fedavg", "local"]
"""


class TestTrials:
    def test_are_the_same_grid_for_every_combination_on_the_validation_part(self, source: str) -> None:
        Path(source).write_text(toy.toml(evaluation="every = 1") + TUNE)
        found = comparison(source).trials()
        assert [(c.axes["scenario"], c.axes["method"], c.experiment.client.lr) for c in found] == [
            (scenario, method, lr) for scenario in ("iid", "quantity") for method in ("fedavg", "local")
            for lr in (0.1, 0.2)
        ]  # fmt: skip
        for cell in found:
            assert (cell.experiment.evaluation.on, cell.experiment.evaluation.every) == ("validation", 0)
            assert cell.experiment.seed == cell.seed == TUNING_SEED
        assert found[0].folder == Path("tune/scenario=iid,method=fedavg,client.lr=0.1/seed-1000000")
        assert len({cell.folder for cell in found}) == 8

    def test_run_under_seeds_that_are_not_measured(self, source: str) -> None:
        Path(source).write_text(toy.toml() + TUNE)
        made = comparison(source, ["seed=5"], tune_seeds=2)
        assert {cell.seed for cell in made.trials()} == {TUNING_SEED + 5, TUNING_SEED + 6}
        assert {cell.seed for cell in made.cells()} == {5, 6}
        assert {cell.experiment.evaluation.on for cell in made.cells()} == {"test"}

    def test_of_some_axes_have_the_first_value_of_the_others(self, source: str) -> None:
        Path(source).write_text(toy.toml() + TUNE)
        made = comparison(source, tune_over=["method.name"])
        assert [(c.axes["scenario"], c.axes["method"]) for c in made.trials()] == [
            ("iid", "fedavg"), ("iid", "fedavg"), ("iid", "local"), ("iid", "local")
        ]  # fmt: skip
        chosen = {("iid", "fedavg"): {"client.lr": "0.2"}, ("iid", "local"): {"client.lr": "0.1"}}
        found = made.cells(chosen)
        assert [(c.axes["method"], c.experiment.client.lr) for c in found] == [
            ("fedavg", 0.2), ("fedavg", 0.2), ("local", 0.1), ("local", 0.1)
        ] * 2  # fmt: skip
        assert found[0].folder == Path("cells/scenario=iid,method=fedavg,client.lr=0.2/seed-0")
        with pytest.raises(FedloomError, match="tune_over has 'model', which is no axis"):
            comparison(source, tune_over=["model"])

    def test_a_combination_for_which_nothing_was_chosen_has_no_cell(self, source: str) -> None:
        Path(source).write_text(toy.toml() + TUNE)
        found = comparison(source).cells({("iid", "local"): {"client.lr": "0.1"}})
        assert {(c.axes["scenario"], c.axes["method"]) for c in found} == {("iid", "local")}

    def test_what_the_command_gives_counts(self, source: str) -> None:
        Path(source).write_text(toy.toml() + TUNE)
        assert comparison(source, tune=["client.lr=0.3", "rounds=1,2"]).table.tune == {
            "client.lr": ["0.3"], "rounds": ["1", "2"]
        }  # fmt: skip
        fixed = comparison(source, ["client.lr=0.7"])
        assert fixed.trials() == []
        assert {cell.experiment.client.lr for cell in fixed.cells()} == {0.7}

    @pytest.mark.parametrize(
        ("sets", "axes", "tune", "words"),
        [
            (["client.lr=0.7"], [], ["client.lr=0.1,0.2"], "with --set and with --tune"),
            ([], ["client.lr=0.1,0.2"], [], "client.lr is an axis, and tuned as well"),
            ([], [], ["seed=1,2"], "a seed cannot be tuned"),
            ([], [], ["client.lr"], "--tune client.lr: expected key=value,value"),
            ([], [], ["client.lrr=1"], "unknown key 'client.lrr'"),
            ([], ["method=fedavg,local client.lr=0.3"], [], "'local client.lr=0.3' sets it"),
        ],
    )
    def test_that_cannot_be_are_refused(
        self, source: str, sets: list[str], axes: list[str], tune: list[str], words: str
    ) -> None:
        Path(source).write_text(toy.toml() + TUNE)
        with pytest.raises(FedloomError, match=words):
            comparison(source, sets, axes, tune=tune).trials()


class TestTheBaseline:
    @pytest.mark.parametrize(
        ("axes", "baseline", "found"),
        [
            (["rounds=1,2", "method=fedavg,local"], [], {"method": "fedavg"}),
            (["rounds=1,2", "client.lr=0.1,0.2"], [], {"rounds": "1"}),
            (["method=fedavg,fedprox method.mu=0.1"], ["method.name=fedprox"], {"method": "fedprox"}),
            (["rounds=1,2", "method=fedavg,local"], ["rounds=2", "method=local"], {"rounds": "2", "method": "local"}),
            (
                ["method=fedprox method.mu=0.1,fedprox method.mu=0.2"],
                ["method=fedprox method.mu=0.2"],
                {"method": "fedprox method.mu=0.2"},
            ),
        ],
    )
    def test_is_an_axis_and_its_value(
        self, source: str, axes: list[str], baseline: list[str], found: dict[str, str]
    ) -> None:
        Path(source).write_text(toy.toml())
        assert comparison(source, [], axes, baseline=baseline).baseline == found

    @pytest.mark.parametrize("text", ["method", "task=toy", "method=scaffold", "method=fedprox"])
    def test_that_names_none_or_several_is_refused(self, source: str, text: str) -> None:
        Path(source).write_text(toy.toml())
        axes = ["method=fedavg,fedprox method.mu=0.1,fedprox method.mu=0.2"]
        with pytest.raises(FedloomError, match=f"baseline '{text}'"):
            comparison(source, [], axes, baseline=[text])

    def test_may_be_one_text_in_a_file(self, source: str) -> None:
        Path(source).write_text(toy.toml() + '[compare]\nbaseline = "method=local"\naxes = {method=["fedavg","local"]}')
        assert comparison(source).baseline == {"method": "local"}
