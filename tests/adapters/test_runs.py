"""Whole runs with each kind of adapter: they resume, run in several processes, are exported, and begin at zero-shot."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fedloom import engines, models
from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.federation.evaluate import Evaluator
from fedloom.federation.exchange import Stopped
from fedloom.federation.setup import Setup
from fedloom.planning.plan import plan
from tests.adapters.kinds import INIT, NAMES, OPTIONS, equal
from tests.federation.test_record import after, outcome

SMALL = """
rounds = 2
[model]
name = "{model}"
[adapter]
kind = "{kind}"
init = "{init}"
rank = 2
[task]
name = "tests.adapters.kinds:animals"
[scenario]
name = "iid"
clients = 2
[client]
batch_size = 4
lr = 0.01
max_steps = 1
[engine]
threads = 1
"""


def experiment(kind: str, *sets: str) -> Experiment:
    """A run of seconds on a model that ships."""
    model = "nano-vlm" if kind == "nano" else "nano-clip"
    raw = config.tomllib.loads(SMALL.format(model=model, kind=kind, init=INIT.get(kind, "kaiming")))
    raw["adapter"] |= OPTIONS.get(kind, {})
    for text in sets:
        config._override(raw, text)
    return config._validate(raw, kind)


@pytest.mark.parametrize("kind", NAMES)
def test_a_run_resumes_with_the_same_bits_and_is_exported(kind: str, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    engines.run(experiment(kind), whole)
    if kind == "adalora":  # its ranks fall over the length of the run
        with pytest.raises(Stopped):
            engines.run(experiment(kind), parted, stop=after(3))
        assert len((parted / "rounds.jsonl").read_text().splitlines()) == 1
    else:
        engines.run(experiment(kind, "rounds=1"), parted)
    engines.run(experiment(kind), parted, resume=True)
    assert outcome(whole) == outcome(parted)
    engines.export(parted, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"An adapter of kind `{kind}` for `nano-" in card
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    if "peft_type" in settings:
        assert "library_name: peft" in card
        assert "PeftModel.from_pretrained" in card
        return
    assert "library_name: fedloom" in card
    assert "PEFT has no such kind" in card
    assert equal(models.opened(tmp_path / "out").read(), load_file(whole / "adapter" / "adapter_model.safetensors"))


def test_two_processes_end_in_the_bits_of_one(tmp_path: Path) -> None:
    """Of a head: every process finds the classes of the task for itself."""
    for workers in (1, 2):
        engines.run(experiment("head", f"engine.workers={workers}", "rounds=1"), tmp_path / str(workers))
    assert outcome(tmp_path / "1") == outcome(tmp_path / "2")


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != "nano"])
def test_zero_shot_is_the_models_own_whatever_is_to_learn(kind: str) -> None:
    """A row of the first table: the same for every kind."""
    answers = []
    for each in (kind, "lora"):
        setup = Setup(experiment(each))
        answers.append(Evaluator(setup, kept=None).state({}, 0, {}).answers)  # type: ignore[arg-type]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["adapter.kind=head", "model=nano-vlm"], r"adapter.kind = 'head': 'nano-vlm' answers in text"),
        (["adapter.kind=prompts", "model=nano-vlm"], r"adapter.kind = 'prompts': 'nano-vlm' answers in text"),
        (["adapter.kind=attention", "model=nano-vlm"], r"adapter.kind = 'attention': 'nano-vlm' answers in text"),
        (["adapter.kind=nano"], r"adapter.kind = 'nano': .* contrastive model has none. Use kind 'lora'"),
        (["adapter.kind=prompts", "adapter.length=99"], r"adapter.length = 99: .*Lower adapter.length"),
        (["adapter.kind=prompts", "adapter.length=0"], r"length.*greater than or equal to 1"),
        (["adapter.kind=attention", "adapter.reduction=7"], r"adapter.reduction = 7 does not divide"),
        (
            ["adapter.kind=full", 'adapter.where=["language"]'],
            r"adapter.where = \['language'\].*connector, text, vision",
        ),
        (["adapter.kind=full", 'adapter.where=["text.99.q"]'], r"adapter.where: 'text.99.q' matches no layer"),
        (["adapter.length=3"], r"\[adapter\] 'lora' has no key 'length'"),
        (["adapter.kind=lorra"], r"there is no 'lorra'.*'lora'"),
        (["adapter.kind=full", "adapter.init=svd"], r"adapter.init = 'svd': kind 'full' .*'kaiming'"),
        (["adapter.kind=head", "adapter.init=update"], r"adapter.init = 'update': kind 'head' .*'kaiming'"),
        (["adapter.kind=full", "model=nano-vlm", "split.wire=full"], r"Leave 'language' out of adapter.where"),
        (["model=nano-vlm", "split.wire=full"], r"Leave 'language' out of adapter.where"),
        (["adapter.kind=visual-prompts", "model=nano-vlm", "split.wire=low-rank"], r"split.wire = 'low-rank' carries"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(sets: list[str], told: str) -> None:
    with pytest.raises(FedloomError, match=told):
        Setup(experiment("lora", *sets)).check()


@pytest.mark.parametrize("kind", ["visual-prompts", "full"])
def test_what_stands_before_the_language_model_learns_with_that_at_a_host(kind: str, tmp_path: Path) -> None:
    """Kinds in vision tower and connector end in the same bits, wherever the language model is."""
    sets = ["model=nano-vlm", "rounds=1", 'adapter.where=["connector"]']
    for wire in ("none", "full"):
        engines.run(experiment(kind, *sets, f"split.wire={wire}"), tmp_path / wire)
    trees = [load_file(tmp_path / wire / "adapter" / "adapter_model.safetensors") for wire in ("none", "full")]
    assert equal(*trees)


@pytest.mark.parametrize("kind", NAMES)
def test_it_can_be_planned(kind: str) -> None:
    """What travels is the whole adapter, and what learns is not counted a second time as the model's own."""
    made = experiment(kind)
    found, adapter = plan(made, captions=4), Setup(made).initial
    size = sum(value.nbytes for value in adapter.values())
    assert found.parameters["trained"] == found.parameters["shared"] == size // 4
    assert found.rounds[1].turns[0].up["adapter"] == found.rounds[1].turns[0].down["adapter"] == size
    assert found.client["adapter"] == found.client["gradients"] == size
    assert found.client["activations"] > 0
    own = size if kind == "full" else 0
    buffers = found.client["weights"] - (4 * found.parameters["total"] - own)
    assert 0 <= buffers < 10_000  # numbers of positions
