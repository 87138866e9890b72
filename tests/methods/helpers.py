"""A client and a server for method tests, small enough to follow by hand."""

import functools
from collections.abc import Callable, Iterable, Iterator

import torch

from fedloom.core import lora, tree
from fedloom.core.contracts import ClientInfo, LocalRun, Method, Parcel, State, Tree

Turn = Callable[[Tree], Tree]


def client(name: str = "0", examples: int = 1, rank: int = 2) -> ClientInfo:
    """What the server knows of a client."""
    return ClientInfo(name, examples, rank)


def run_of(received: Parcel, examples: int = 1, lr: float = 0.1, kept: dict[str, Tree] | None = None) -> LocalRun:
    """A client's run at its beginning; example n (from 1) has loss n and a gradient of n everywhere."""
    start = received.trees["adapter"]
    theta = {name: value.clone().requires_grad_() for name, value in start.items()}

    def losses() -> torch.Tensor:
        return torch.arange(1.0, examples + 1)

    def gradients() -> Iterator[Tree]:
        for number in range(examples):
            yield {name: torch.full_like(value, number + 1.0) for name, value in start.items()}

    return LocalRun(start, theta, received, kept or {}, examples, lr, losses, gradients)


def reply(method: Method, run: LocalRun) -> Parcel:
    """What a client sends at the end of its run."""
    adapter = {name: value.detach().clone() for name, value in run.theta.items()}
    if method.local.rank:
        adapter = lora.truncate(adapter, method.local.rank(run))
    further = method.local.send(run) if method.local.send else {}
    shared = {"adapter": tree.select(adapter, method.shares), **further}
    return Parcel(shared, {"examples": run.examples, "steps": run.steps})


def play(method: Method, state: State, info: ClientInfo, turn: Turn) -> Parcel:
    """One client's reply when its training is ``turn``; the gradient of its one step is all ones where it moved."""
    run = run_of(method.server.send(state, info), info.examples)
    if method.local.begin:
        method.local.begin(run)
    with torch.no_grad():
        for name, after in turn(run.start).items():
            run.theta[name].grad = (after != run.start[name]).to(after.dtype)
            run.theta[name].copy_(after)
    if method.local.gradient:
        method.local.gradient(run)
    run.steps = 1
    if method.local.end:
        with torch.no_grad():
            method.local.end(run)
    return reply(method, run)


def stay(adapter: Tree) -> Tree:
    """Training that changes nothing."""
    return adapter


def to(**values: float) -> Turn:
    """Training that ends with these numbers in the named tensors."""
    return lambda adapter: {n: torch.full_like(value, values.get(n, 0.0)) for n, value in adapter.items()}


def shake(seed: int) -> Turn:
    """Training that adds noise to every tensor."""
    rng = torch.Generator().manual_seed(seed)
    return lambda adapter: {n: value + torch.randn(value.shape, generator=rng) for n, value in adapter.items()}


def fold(method: Method, state: State, replies: Iterable[tuple[Parcel, ClientInfo]]) -> Parcel:
    """What the server steps with."""
    lifted = (method.reduce.lift(parcel, info, begun(method, state, info)) for parcel, info in replies)
    return method.reduce.lower(functools.reduce(method.reduce.merge, lifted))


def begun(method: Method, state: State, info: ClientInfo) -> Tree:
    """The shared part of the adapter that a client begins from."""
    return tree.select(method.server.send(state, info).trees["adapter"], method.shares)


def step(method: Method, state: State, turns: Iterable[tuple[ClientInfo, Turn]]) -> State:
    """One whole round."""
    replies = [(play(method, state, info, turn), info) for info, turn in turns]
    return method.server.step(state, fold(method, state, replies))


def adapter(rank: int = 3, k: int = 6, d: int = 5, *, zero: bool = False, between: bool = False) -> Tree:
    """Two LoRA pairs and a tensor that is none; ``zero`` gives B = 0, as every run begins; ``between`` adds the R."""
    rng = torch.Generator().manual_seed(0)
    made = {"head.weight": torch.randn(4, generator=rng)}
    for module in ("m.q", "m.v"):
        made[f"{module}.lora_A.weight"] = torch.randn(rank, k, generator=rng)
        made[f"{module}.lora_B.weight"] = torch.randn(d, rank, generator=rng) * (0 if zero else 1)
        if between:
            made[f"{module}.lora_R.weight"] = torch.randn(rank, rank, generator=rng)
    return made


def effect(parcel: Parcel, scale: float) -> Tree:
    """What a model does with a parcel: the dense change of each module, ``s B A`` (or ``s B R A``) plus the base's, and
    the rest."""
    own = parcel.trees["adapter"]
    total = {name: value for name, value in own.items() if "lora_" not in name}
    for part, factor in ((own, scale), (parcel.trees.get("base", {}), 1.0)):
        for name in part:
            if name.endswith("lora_A.weight"):
                module = name.removesuffix(".lora_A.weight")
                inner = part.get(f"{module}.lora_R.weight")
                right = part[name] if inner is None else inner @ part[name]
                change = factor * part[f"{module}.lora_B.weight"] @ right
                total[module] = total.get(module, 0) + change
    return total
