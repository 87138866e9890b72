"""Where AdaLoRA left rank: groups, spreads and clients by hand, and the command from end to end."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedloom.cli import app
from fedloom.core.errors import FedloomError
from fedloom.report import importance
from fedloom.report.importance import Found, Part, Spread, group, kept

Q = "base_model.model.qformer.encoder.layer.{}.attention.attention.query"
FFN = "base_model.model.qformer.encoder.layer.{}.intermediate_query.dense"
T5 = "base_model.model.language_model.decoder.block.0.layer.1.EncDecAttention.q"

EXPERIMENT = """
name = "small"
rounds = 2
[model]
name = "nano-clip"
[adapter]
rank = 2
where = ["text"]
[task]
name = "tests.adapters.kinds:animals"
[scenario]
name = "iid"
clients = 2
[client]
batch_size = 4
max_steps = 1
[engine]
threads = 1
"""


def part() -> Part:
    """Two seeds of four layers with four triplets each; two clients."""
    left = [
        {Q.format(0): 4, Q.format(1): 2, FFN.format(0): 1, T5: 1},
        {Q.format(0): 2, Q.format(1): 2, FFN.format(0): 3, T5: 1},
    ]
    more = {Q.format(0): 4, Q.format(1): 4, FFN.format(0): 0, T5: 0}
    run: Any = None
    found = [Found(seed, 4, one, {"a": one, "b": more}, run) for seed, one in enumerate(left)]
    return Part("all", tuple(found))


def test_groups_of_sublayers() -> None:
    names = [importance.named(module)[0] for module in part().found[0].left]
    assert [group(name) for name in names] == [
        "qformer self-attention",
        "qformer self-attention",
        "qformer feed-forward",
        "language cross-attention",
    ]
    assert group("connector language_projection") == "connector language_projection"


def test_percentages_and_spreads_by_hand() -> None:
    """Self-attention: 6 of 8, then 4 of 8 triplets; feed-forward: 1 of 4, then 3 of 4."""
    found = part().by_group()
    assert kept(part().found[0].left, 4)["qformer self-attention"] == 75.0
    assert found["qformer self-attention"] == Spread(62.5, pytest.approx(17.678, abs=1e-3), 2)
    assert found["qformer feed-forward"] == Spread(50.0, pytest.approx(35.355, abs=1e-3), 2)
    assert found["language cross-attention"] == Spread(25.0, 0.0, 2)
    assert part().by_sublayer()["qformer self q", 0] == Spread(3.0, pytest.approx(1.414, abs=1e-3), 2)
    assert Spread.of([2.0]).told == "2.0"
    assert Spread.of([2.0, 4.0]).told == "3.0 ± 1.4"


def test_clients_apart_beside_what_seeds_make_of_it() -> None:
    """Self-attention: 62.5 of client a (17.7 over seeds), 100 of b (0): apart by 26.5; the seeds alone make
    sqrt((17.7^2 / 2 + 0) / 2) = 8.8 of it."""
    table = importance.group_table([part()])
    assert table[0] == ["", "language cross-attention", "qformer self-attention", "qformer feed-forward"]
    assert table[1] == ["all", "25.0 ± 0.0", "62.5 ± 17.7", "50.0 ± 35.4"]
    assert table[2][0] == "all: apart over clients"
    assert table[2][2] == "26.5 (seeds 8.8)"


def test_the_command_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    given = ["importance", "small.toml", "--seeds", "2"]
    made = CliRunner().invoke(app, given, catch_exceptions=False)
    assert made.exit_code == 0, made.output
    folder = tmp_path / "runs" / "small-importance"
    page = (folder / "report.html").read_text()
    assert "Rank left by layer" in page
    assert "By each client" in page
    assert not re.findall(r"(?:src|href)=[\"']?https?://", page)
    rows = list(csv.DictReader((folder / "importance.csv").open()))
    assert {row["sublayer"] for row in rows} == {"text self q", "text self v"}
    start = 2 * len(rows)
    assert sum(float(row["left"]) for row in rows) == 2 * start // 3
    clients = list(csv.DictReader((folder / "importance-clients.csv").open()))
    assert {row["client"] for row in clients} == {"0", "1"}
    assert "| all |" in (folder / "importance.md").read_text()
    for name in ("importance-1-layers.png", "importance-1-clients.png"):
        assert (folder / name).stat().st_size > 1000
    results = [json.loads(path.read_text()) for path in folder.glob("cells/*/*/result.json")]
    assert len(results) == 2
    again = CliRunner().invoke(app, given, catch_exceptions=False)  # finished runs are read, not run again
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["method=flexlora"], "'flexlora' needs"),
        (["adapter.budget=1"], "adapter.budget = 1"),
        (["adapter.warmup=2"], "leave none of the run's 2 rounds"),
    ],
)
def test_bad_input_is_told(sets: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    given = ["importance", "small.toml", "--seeds", "1", *[text for one in sets for text in ("--set", one)]]
    with pytest.raises(FedloomError, match=told):
        CliRunner().invoke(app, given, catch_exceptions=False)


def test_combinations_of_another_kind_are_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    given = ["importance", "small.toml", "--seeds", "1", "--axis", "adapter.kind=adalora,full"]
    with pytest.raises(FedloomError, match=r"kind=full seed=0 has adapter.kind = 'full', which leaves no ranks"):
        CliRunner().invoke(app, given, catch_exceptions=False)
    assert not (tmp_path / "runs").exists()
