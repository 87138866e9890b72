"""The mean of the products, merged into the base each round."""

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.core.seeds import Seeds
from fedloom.methods._common import grown, only_pairs, stacked


def stacking(seed: int = 0) -> Method:
    """The clients' adapters stacked side by side and merged into the base each round: no averaging error, any ranks.

    FLoRA, Wang et al. 2024 (arXiv 2409.05976), eq. (6)-(7): ``A = [p_1 A_1; ...; p_K A_K]``, ``B = [B_1 ... B_K]``, so
    ``B A = sum_k p_k B_k A_k``, and ``W <- W + s B A``. Slot ``base`` holds the plain product of all rounds so far
    (scale s inside); its rank, and what is sent down, grows with each round up to min(d, k), where it is compressed
    exactly. Clients begin each round with a new A (Kaiming-uniform as in PEFT, from ``seed`` and the round) and B = 0.
    Other tensors are averaged plainly.
    """
    seeds = Seeds(seed)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("stacking", adapter)
        counters = {"round": torch.tensor(0), "scale": torch.tensor(scale, dtype=torch.float64)}
        return {"adapter": adapter, "base": {}, "counters": counters}

    def step(state: State, total: Parcel) -> State:
        counters = state["counters"] | {"round": state["counters"]["round"] + 1}
        base = grown(state["base"], lora.pairs(total.trees["stack"]), float(counters["scale"]))
        fresh = _fresh(state["adapter"], seeds, int(counters["round"]))
        adapter = state["adapter"] | total.trees["adapter"] | fresh
        return {"adapter": adapter, "base": base, "counters": counters}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        adapter = state["adapter"] if client is None else lora.truncate(state["adapter"], client.rank)
        return Parcel({"adapter": adapter, "base": state["base"]})

    return Method(stacked(), Server(init, step, send), mixed_ranks=True, needs="weights")


def _fresh(adapter: Tree, seeds: Seeds, number: int) -> Tree:
    """New pairs of the same shapes: A uniform in +-1/sqrt(k) (``kaiming_uniform_(a=sqrt(5))``), B zero."""
    pairs: dict[str, lora.Pair] = {}
    for module, (a, b) in lora.pairs(adapter).items():
        uniform = torch.rand(a.shape, generator=seeds.torch(f"stacking/{number}/{module}"))
        pairs[module] = ((2 * uniform - 1) / a.shape[1] ** 0.5).to(a.dtype), torch.zeros_like(b)
    return lora.tree(pairs)
