"""AdaLoRA: PEFT's, step by step, for one client; one budget for several."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from fedloom import engines
from fedloom.adapters._budget import ALLOCATION, Rule, Schedule, governed, ranks, spend, wanted
from fedloom.adapters._folder import PREFIX
from fedloom.adapters._importance import IMPORTANCE, WHOLE, A, B, E, orthogonality, scores, shares
from fedloom.core import config, needs, resolve
from fedloom.core.contracts import ClientInfo, Example, Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ClientTable
from fedloom.federation.record import RunFolder
from fedloom.federation.turn import Pupil, turn
from fedloom.methods.fedadam import fedadam
from fedloom.methods.fedavg import fedavg
from fedloom.methods.local import local
from tests.adapters.kinds import Tiny, tuned
from tests.adapters.test_runs import experiment
from tests.federation.test_record import outcome
from tests.models import whole
from tests.models.backbones import examples

ROUNDS, STEPS, RANK, TARGET = 10, 2, 3, 1
TAKING = [
    name
    for name in sorted(resolve.known("methods"))
    if needs.shares_all(method := resolve.build("methods", name, {}, seed=0))
    and method.needs == "any"
    and name != "q-fedavg"  # whose replies hold losses
]
RULE = Rule(budget=0, warmup=2, final=3, every=1, beta1=0.85, beta2=0.85, orthogonality=0.5)


def rule(**said: Any) -> Rule:
    return replace(RULE, **said)


def one_turn(
    made: Any, method: Method, state: State, kept: dict[str, Tree], round: int
) -> tuple[Parcel, list[Example]]:
    """A client's turn in a round; the reply, and the examples of its steps."""
    seeds, seen = Seeds(7), list[Example]()
    table = ClientTable(batch_size=1, max_steps=STEPS, optimizer="sgd", lr=0.2, epochs=1)
    rng = seeds.numpy(f"round/{round}")
    pupil = Pupil(made, examples(8), lambda name: True, table, rng, 0.2, seeds.number)
    info = ClientInfo("one", 8, RANK)
    going = turn(pupil, method, received=method.server.send(state, info), kept=kept, initial=made.read(), scale=1.0)
    try:
        step = next(going)
        while True:
            seen += step.examples
            step = going.send(step.losses(made))
    except StopIteration as end:
        reply, keep = end.value
    kept.clear()
    kept.update(keep)
    return reply, seen


def peft(folder: Path, made: Any, modules: Sequence[str]) -> Any:
    """PEFT's own AdaLoRA on the same model, from the same start."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    settings = AdaLoraConfig(
        init_r=RANK,
        target_r=TARGET,
        tinit=2 * STEPS,
        tfinal=3 * STEPS,
        deltaT=STEPS,
        total_step=ROUNDS * STEPS,
        lora_alpha=4.0,
        target_modules=list(modules),
        orth_reg_weight=0.5,
    )
    found = get_peft_model(model, settings)
    with torch.no_grad():
        for name, value in made.leaves().items():
            found.get_parameter(f"{name}.default").copy_(value)
    return found


@pytest.mark.filterwarnings("ignore")
def test_with_one_client_it_is_pefts_step_by_step(tiny: Tiny) -> None:
    """Twenty steps with a warm-up, prunings after every second step, and final ones under the mask."""
    folder = tiny("llava")
    made = tuned("adalora", folder, {"rank": RANK, "where": ("language",), "modules": ("q", "v", "mlp")})
    theirs = peft(folder, made, made._adapter.layers)
    optimiser = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=0.2)
    count = len(made._adapter.layers)
    method = governed(fedavg(), rule(budget=TARGET * count), ROUNDS)
    state = method.server.init(made.read(), 1.0, 1)
    kept: dict[str, Tree] = {}
    steps, left, noted = 0, [], {}
    for round in range(1, ROUNDS + 1):
        reply, seen = one_turn(made, method, state, kept, round)
        assert len(seen) == STEPS
        info = ClientInfo("one", 8, RANK)
        total = method.reduce.lower(method.reduce.lift(reply, info, state["adapter"]))
        state = method.server.step(state, total)
        for example in seen:
            steps += 1
            inputs = whole.inputs("llava", folder, example, f"{example.answer} </s>")
            labels = torch.full_like(inputs["input_ids"], -100)
            labels[:, -2:] = inputs["input_ids"][:, -2:]
            theirs.base_model(**inputs, labels=labels).loss.backward()  # a plain PeftModel leaves out the term
            optimiser.step()
            theirs.base_model.update_and_allocate(steps)
            noted = dict(theirs.base_model.rankallocator.exp_avg_ipt) or noted  # it forgets them in the end
            optimiser.zero_grad()
        for name, value in state["adapter"].items():
            torch.testing.assert_close(value, theirs.get_parameter(f"{name}.default").data, rtol=1e-6, atol=1e-6)
        for name, value in noted.items():
            own = kept["sensitivity"][PREFIX + name.removesuffix(".default")]
            torch.testing.assert_close(own, value, rtol=1e-5, atol=1e-9)
        left.append(sum(ranks(state).values()))
    pattern = theirs.peft_config["default"].rank_pattern
    mine = {f"{module.removeprefix(PREFIX)}{E}.default": count for module, count in ranks(state).items()}
    assert mine == {name: sum(mask) for name, mask in pattern.items()}
    start, target = RANK * count, TARGET * count
    falling = [int((start - target) * (1 - (round - 2) / 5) ** 3 + target) for round in range(3, 8)]
    assert left == [start, start, *falling, target, target, target]
    assert len({tuple(state["adapter"][m + E].ne(0).view(-1).tolist()) for m in ranks(state)}) > 1


def test_the_budget_is_spent_to_the_triplet_whatever_is_equal() -> None:
    tied = {"b": torch.tensor([1.0, 1.0, 0.0]), "a": torch.tensor([0.0, 1.0, 1.0])}
    assert {m: mask.tolist() for m, mask in spend(tied, 3).items()} == {
        "a": [False, True, True],
        "b": [True, False, False],
    }
    for budget in range(7):
        assert sum(int(mask.sum()) for mask in spend(tied, budget).values()) == budget
    nothing = {"a": torch.zeros(2), "b": torch.zeros(2)}
    assert [int(mask.sum()) for mask in spend(nothing, 3).values()] == [2, 1]


def test_budgets_by_hand() -> None:
    """20 triplets to 4 over rounds 2 to 6 of 8: 4 + 16 (1 - t)^3 with t = 1/4, 2/4, 3/4, whole numbers below it."""
    found = Schedule(rounds=8, warmup=2, final=2, every=1, start=20, target=4)
    assert [found.budget(round) for round in range(1, 9)] == [None, None, 10, 6, 4, 4, None, None]
    assert [found.over(round) for round in (5, 6, 8)] == [False, True, True]
    seldom = replace(found, every=2)
    assert [seldom.budget(round) for round in range(1, 9)] == [None, None, None, 6, None, 4, None, None]
    at_the_end = replace(found, warmup=0, final=0, rounds=2)
    assert [at_the_end.budget(round) for round in (1, 2)] == [6, 4]


def test_importance_by_hand() -> None:
    """One module of two triplets: A is [2, 1], E [2, 1], B [2, 2]; two steps of w dL/dw."""
    seen = {A: ([2.0, 4.0], [0.0, 8.0]), E: ([1.0, 0.0], [3.0, 0.0]), B: ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])}
    smooth: dict[str, Tensor] = {}
    unsure: dict[str, Tensor] = {}
    for name, shape in ((A, (2, 1)), (E, (2, 1)), (B, (2, 2))):
        i = u = torch.zeros(shape)
        for now in seen[name]:
            value = torch.tensor(now).reshape(shape)
            i = 0.5 * i + 0.5 * value
            u = 0.5 * u + 0.5 * (value - i).abs()
        smooth["m" + name], unsure["m" + name] = i, u
    # A: I = 1, 2 then 0.5, 5; U = 0.5, 1 then 0.5, 2 -> 0.25, 10.
    # E: I = 0.5, 0 then 1.75, 0; U = 0.25, 0 then 0.75, 0 -> 1.3125, 0.
    # B: I = w / 2 then 3/4 w; U = w / 4 then w / 8 + (w - 3/4 w) / 2 = w / 4 -> 3/16 w^2; columns (1, 3) and (2, 4).
    found = scores(smooth, unsure)["m"]
    assert found.tolist() == pytest.approx([1.3125 + 0.25 + 3 / 16 * (1 + 9) / 2, 0 + 10 + 3 / 16 * (4 + 16) / 2])
    told = shares({"m": found})["m"]
    assert told.dtype == torch.int64
    assert (told.double() / WHOLE).tolist() == pytest.approx((found / found.sum()).tolist())
    assert shares({"m": torch.zeros(2)})["m"].tolist() == [0, 0]


def test_orthogonality_by_hand() -> None:
    """``A A^T - I`` of (1, 1) and (0, 2) is ((1, 2), (2, 3)): norm sqrt(18); of B = (2) it is 3: their mean."""
    adapter = {
        "m" + A: torch.tensor([[1.0, 1.0], [0.0, 2.0]]),
        "m" + B: torch.tensor([[2.0]]),
        "m" + E: torch.ones(1, 1),
    }
    assert float(orthogonality(adapter)) == pytest.approx((math.sqrt(18) + 3) / 2)


def adapter(rank: int = 2) -> Tree:
    found: Tree = {}
    for module, (d, k) in {"x": (3, 2), "y": (2, 2)}.items():
        found |= {module + A: torch.ones(rank, k), module + E: torch.ones(rank, 1), module + B: torch.ones(d, rank)}
    return found


def reply(x: Sequence[float], y: Sequence[float], tree: Tree | None = None) -> Parcel:
    told = {"x": torch.tensor(x), "y": torch.tensor(y)}
    return Parcel({"adapter": tree or adapter(), IMPORTANCE: shares(told)}, {"examples": 1, "steps": 1})


@pytest.mark.parametrize("base", [fedavg, fedadam])
def test_clients_count_by_their_examples_not_by_the_size_of_their_gradients(base: Any) -> None:
    """Shares (.5, .3, .2, 0) of one example and (0, 0, .4, .6) of three: mean (.125, .075, .35, .45)."""
    method = governed(base(), rule(budget=2, warmup=0, final=0), 1)
    state = method.server.init(adapter(), 1.0, 2)
    infos = ClientInfo("one", 1, 2), ClientInfo("two", 3, 2)
    first = method.reduce.lift(reply([500.0, 300.0], [200.0, 0.0]), infos[0], adapter())
    second = method.reduce.lift(reply([0.0, 0.0], [0.04, 0.06]), infos[1], adapter())
    after = method.server.step(state, method.reduce.lower(method.reduce.merge(first, second)))
    assert ranks(after) == {"x": 0, "y": 2}
    assert wanted(after) == {"one": {"x": 2, "y": 0}, "two": {"x": 0, "y": 2}}
    assert after["adapter"]["x" + E].tolist() == [[0.0], [0.0]]
    assert bool((after["adapter"]["y" + E] != 0).all())
    sent = method.server.send(after, infos[0]).trees[ALLOCATION]
    assert {name: mask.tolist() for name, mask in sent.items()} == {"mask/x": [0, 0], "mask/y": [1, 1], "round": 1}
    assert ALLOCATION not in method.server.send(after, None).trees
    assert method.server.send(state, infos[0]).trees[ALLOCATION] == {"round": torch.tensor(0)}


def test_what_is_pruned_early_may_come_back_and_what_is_final_may_not() -> None:
    method = governed(fedavg(), rule(budget=2, warmup=0, final=1), 3)
    state = method.server.init(adapter(), 1.0, 1)
    info = ClientInfo("one", 1, 2)

    def step(state: State, x: list[float], y: list[float]) -> State:
        return method.server.step(state, method.reduce.lower(method.reduce.lift(reply(x, y), info, adapter())))

    first = step(state, [4.0, 3.0], [2.0, 1.0])
    assert sum(ranks(first).values()) == 2  # 2 + 2 (1 - 1/2)^3 = 2.25
    second = step(first, [1.0, 2.0], [3.0, 4.0])
    assert ranks(second) == {"x": 0, "y": 2}
    third = step(second, [4.0, 3.0], [2.0, 1.0])
    assert ranks(third) == {"x": 0, "y": 2}
    assert wanted(third) == {"one": {"x": 0, "y": 2}}
    assert third["adapter"]["x" + E].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize(
    "slot",
    [
        {},
        {"x": torch.tensor([1, 2])},
        {"x": torch.tensor([1, 2]), "y": torch.tensor([1, -2])},
        {"x": torch.tensor([1, 2]), "y": torch.tensor([1.0, 2.0])},
        {"x": torch.tensor([1, 2]), "y": torch.tensor([1])},
        {"x": torch.tensor([WHOLE, WHOLE]), "y": torch.tensor([1, 1])},
    ],
)
def test_shares_that_are_none_are_refused(slot: Tree) -> None:
    method = governed(fedavg(), rule(), ROUNDS)
    with pytest.raises(FedloomError, match=r"Slot 'importance' of the reply of client 'one' holds no shares"):
        method.reduce.lift(Parcel({"adapter": adapter(), IMPORTANCE: slot}), ClientInfo("one", 1, 2), adapter())


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["method=flexlora"], r"'flexlora' needs .*adapter.kind = 'adalora' does not have. Fix: .*fedavg"),
        (["method=hetlora", "adapter.ranks=[1,2]"], r"'hetlora' needs .*adapter.kind = 'adalora' does not have"),
        (["method=local"], r"budget is spent at the server.*such as fedavg"),
        (["method=ditto"], r"budget is spent at the server"),
        (
            ["adapter.warmup=1", "adapter.final=1"],
            r"adapter.warmup = 1 and adapter.final = 1 leave none of the run's 2",
        ),
        (["adapter.warmup=7"], r"adapter.warmup = 7 .* lower them, or raise rounds"),
        (["adapter.final=-1"], r"adapter.final = -1: expected 0 or more"),
        (["adapter.beta1=1.0"], r"adapter.beta1 = 1.0: expected a number between 0 and 1"),
        (["adapter.init=svd"], r"kind 'adalora' has no pairs"),
        (["adapter.budgett=3"], r"'adalora' has no key 'budgett'. Did you mean 'budget'"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_file_is_read(sets: list[str], told: str) -> None:
    with pytest.raises(FedloomError, match=told):
        config.build(experiment("adalora", *sets), "method")


@pytest.mark.parametrize(("budget", "told"), [(3, "Expected from"), (10**6, "raise adapter.rank for more")])
def test_a_budget_that_no_layer_or_not_enough_of_them_can_have_is_refused(
    budget: int, told: str, tmp_path: Path
) -> None:
    with pytest.raises(FedloomError, match=rf"adapter.budget = {budget}: the adapter has \d+ triplets.*{told}"):
        engines.run(experiment("adalora", f"adapter.budget={budget}"), tmp_path / "run")
    assert not (tmp_path / "run" / "rounds.jsonl").exists()


@pytest.mark.parametrize("name", TAKING)
def test_every_method_that_takes_it_keeps_the_budget(name: str) -> None:
    """Through warm-up, pruning and final rounds, of replies that move E everywhere: in the state, in what is evaluated
    and in what clients are sent."""
    method = resolve.build("methods", name, {}, seed=0)
    made = governed(method, rule(budget=2, warmup=0, final=2), 4)
    info = ClientInfo("one", 1, 2)
    state = made.server.init(adapter(), 1.0, 1)
    for round in range(1, 5):
        sent = made.server.send(state, info)
        begun = adapter() | sent.trees["adapter"]
        back = {key: value + 0.25 * round for key, value in begun.items()}
        slots = {slot: {key: torch.rand(value.shape) for key, value in back.items()} for slot in method.local.reveals}
        told = reply([4.0, 3.0 + round], [2.0 + round, 1.0], back)
        parcel = Parcel({**slots, **told.trees}, told.facts)
        state = made.server.step(state, made.reduce.lower(made.reduce.lift(parcel, info, begun)))
        if round >= 2:
            assert sum(ranks(state).values()) == 2
            for parcel in (made.server.send(state, None), made.server.send(state, info)):
                alive = [int((v != 0).sum()) for key, v in parcel.trees["adapter"].items() if key.endswith(E)]
                assert sum(alive) == 2
    assert ALLOCATION in made.server.send(state, info).trees


def test_methods_that_share_a_part_are_refused() -> None:
    with pytest.raises(FedloomError, match="spent at the server"):
        governed(local(), rule(), ROUNDS)


def test_importance_that_is_no_number_is_told() -> None:
    with pytest.raises(FedloomError, match=r"importance of triplets is not finite. Lower client.lr"):
        shares({"m": torch.tensor([1.0, float("nan")])})


def test_a_start_adapter_is_exported_whole_and_a_pruned_one_without_what_is_gone(tiny: Tiny, tmp_path: Path) -> None:
    made = tuned("adalora", tiny("llava"), {"where": ("language",), "modules": ("q", "v")})
    start = made.read()
    made.save(tmp_path / "start", start, None, "card")
    assert {n: v.shape for n, v in load_file(tmp_path / "start" / "adapter_model.safetensors").items()} == {
        n: v.shape for n, v in start.items()
    }
    tree = {n: torch.ones_like(v) for n, v in start.items()}
    first = next(n for n in tree if n.endswith(E))
    tree[first] = torch.zeros_like(tree[first])
    made.save(tmp_path / "pruned", tree, None, "card")
    found = load_file(tmp_path / "pruned" / "adapter_model.safetensors")
    assert found[first].shape == (0, 1)
    assert found[first.replace(E, A)].shape[0] == 0
    made.write(tree)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = made.loss(made.collate(examples()))
        base = AutoModelForImageTextToText.from_pretrained(tiny("llava")).eval()
        opened = PeftModel.from_pretrained(base, tmp_path / "pruned").eval()
        losses = []
        for example in examples():
            inputs = whole.inputs("llava", tiny("llava"), example, f"{example.answer} </s>")
            labels = torch.full_like(inputs["input_ids"], -100)
            labels[:, -2:] = inputs["input_ids"][:, -2:]
            losses.append(opened(**inputs, labels=labels).loss)
    torch.testing.assert_close(torch.stack(losses), expected, rtol=1e-4, atol=1e-4)


def test_two_processes_end_in_the_bits_of_one_and_lossy_channels_keep_the_budget(tmp_path: Path) -> None:
    for name, sets in {
        "one": [],
        "two": ["engine.workers=2"],
        "lossy": ['channel.up=["feedback", "int8"]', 'channel.down=["fp16"]'],
        "clients": ["evaluation.where=clients", "sampling.fraction=0.5"],
    }.items():
        engines.run(experiment("adalora", "adapter.budget=20", *sets), tmp_path / name)
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    for name in ("one", "lossy", "clients"):
        last = RunFolder(tmp_path / name).last()
        assert last is not None
        assert sum(ranks(last.state).values()) == 20
        alive = [int((v != 0).sum()) for key, v in last.state["adapter"].items() if key.endswith(E)]
        assert sum(alive) <= 20
