"""Axes whose values have names, combinations that are left out, and values picked on the command line."""

from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.sweep.cells import Comparison, comparison

FILE = """
name = "named"
rounds = 1
[task]
name = "icons-memes"
[model]
name = "nano-clip"
[scenario]
name = "iid"
clients = 4
[method]
name = "fedavg"
[compare]
seeds = 1
columns = "column"
baseline = "row=FedAvg"
skip = [{ row = ["Pool"], strategy = ["prox"] }]
unranked = [{ row = "Pool" }]
[compare.axes.column]
a5 = "scenario=dirichlet scenario.alpha=5 scenario.by=label"
b30 = "scenario=iid modality=missing modality.rate=0.3"
[compare.axes.row]
FedAvg = "method=fedavg"
"FedYogi, small" = "method=fedyogi method.eta=0.001"
Pool = "method=centralised"
[compare.axes.strategy]
none = ""
prox = 'method.with=["fedprox"]'
"""


def made(place: Path, text: str = FILE, **given: object) -> Comparison:
    file = place / "named.toml"
    file.write_text(text)
    return comparison(str(file), **given)  # type: ignore[arg-type]


def test_names_stand_for_overrides_in_tables_and_folders(tmp_path: Path) -> None:
    cells = {tuple(cell.axes.values()): cell for cell in made(tmp_path).cells()}
    assert len(cells) == made(tmp_path).size == 2 * (2 * 2 + 1)  # the pool without the strategy
    assert ("a5", "Pool", "prox") not in cells
    one = cells["b30", "FedYogi, small", "prox"]
    assert one.axes == {"column": "b30", "row": "FedYogi, small", "strategy": "prox"}
    assert one.experiment.modality.name == "missing"
    assert one.experiment.method.name == "fedyogi"
    assert one.experiment.method.options["eta"] == 0.001
    assert one.folder.parts[1] != cells["b30", "FedYogi, small", "none"].folder.parts[1]
    assert cells["a5", "FedAvg", "none"].experiment.scenario.name == "dirichlet"
    assert made(tmp_path).baseline == {"row": "FedAvg"}


def test_only_some_values_of_the_files_axes(tmp_path: Path) -> None:
    found = made(tmp_path, only=["column=b30", "strategy=none"]).cells()
    assert [tuple(cell.axes.values()) for cell in found] == [
        ("b30", "FedAvg", "none"),
        ("b30", "FedYogi, small", "none"),
        ("b30", "Pool", "none"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[compare.axes.row]", "[compare.axes.method]", r"compare.axes.method gives its values names.*row or column"),
        ("seeds = 1", 'seeds = 1\nunknown = "x"', "unknown"),
        ('columns = "column"', 'columns = "colum"', "columns = 'colum', which is no axis.*'column'"),
        ('row = ["Pool"],', 'rows = ["Pool"],', "skip names 'rows', which is no axis.*'row'"),
        ('row = ["Pool"],', 'row = ["Pol"],', "skip: axis 'row' has no 'Pol'.*'Pool'"),
        ('{ row = "Pool" }', '{ column = "a5" }', "unranked names 'column', which stands in the columns"),
        ('row = "Pool"', 'row = "Fedavg"', "unranked: axis 'row' has no 'Fedavg'.*'FedAvg'"),
        ('baseline = "row=FedAvg"', 'baseline = "row=Fed"', "'Fed'.*must name one of these values"),
        ('row = ["Pool"], strategy = ["prox"]', 'strategy = ["prox", "none"]', "leaves no combination"),
        ("method=fedavg", "metod=fedavg", "metod"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in FILE
    with pytest.raises(FedloomError, match=told):
        made(tmp_path, FILE.replace(old, new)).cells()


@pytest.mark.parametrize(("text", "told"), [("colum=a5", "no axis.*'column'"), ("column=a6", "must name one of")])
def test_only_what_there_is_can_be_picked(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(FedloomError, match=told):
        made(tmp_path, only=[text])


def test_a_file_takes_a_comparison_from_another_and_replaces_parts_of_it(tmp_path: Path) -> None:
    made(tmp_path)
    more = FILE[: FILE.index("[compare]")] + (
        f'[compare]\nlike = "{tmp_path / "named.toml"}"\nseeds = 2\n[compare.axes.row]\nPool = "method=local"\n'
    )
    (tmp_path / "more.toml").write_text(more)
    found = comparison(str(tmp_path / "more.toml"))
    assert found.table.seeds == 2
    assert found.table.columns == "column"
    assert list(found.axes) == ["column", "row", "strategy"]
    assert {c.axes["row"]: c.experiment.method.name for c in found.cells()}["Pool"] == "local"
    assert {c.axes["row"]: c.experiment.method.name for c in found.cells()}["FedAvg"] == "fedavg"
    (tmp_path / "none.toml").write_text(FILE[: FILE.index("[compare]")])
    (tmp_path / "more.toml").write_text(more.replace("named.toml", "none.toml"))
    with pytest.raises(FedloomError, match=r"compare.like = '.*none.toml' has no \[compare\] of its own"):
        comparison(str(tmp_path / "more.toml"))


@pytest.mark.parametrize(
    ("preset", "rows"), [("fedmllm", 19), ("fedmllm-hateful-memes", 18), ("fedmllm-crisismmd", 18)]
)
def test_fedmllms_table_is_whole(preset: str, rows: int) -> None:
    """12 columns by the rows, of which six have two strategies more, and of these FedAvg three and FedAdam two more."""
    found = comparison(preset)
    assert found.table.seeds == 3
    assert len(found.axes["column"]) == 12
    assert len(found.trials()) == rows * 3
    assert found.baseline == {"row": "FedAvg"}
    part = comparison(preset, seeds=1, only=["column=a5,3:7"])
    assert len(part.cells()) == 2 * (rows + 6 * 2 + 3 + 2)


@pytest.mark.parametrize("preset", ["fedmllm", "fedmllm-hateful-memes", "fedmllm-crisismmd"])
def test_all_rows_of_fedmllms_table_train_on_as_many_examples(preset: str) -> None:
    """rounds x epochs x the share of the clients is the same; a run on all data in one place has every client's."""
    passes = {
        cell.axes["row"]: round(e.rounds * e.client.epochs * (1.0 if e.method.name == "centralised" else share), 9)
        for cell in comparison(preset, seeds=1, only=["column=a5,3:7"]).cells()
        for e in [cell.experiment]
        for share in [dict(e.sampling.model_dump()).get("fraction", 1.0)]
    }
    assert len(set(passes.values())) == 1, passes
