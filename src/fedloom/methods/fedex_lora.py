"""Averaged factors, and what that average misses, merged into the base."""

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.methods._common import grown, only_pairs, stacked


def fedex_lora() -> Method:
    """mean(A) and mean(B); what they miss of the mean of the products goes into the base.

    FedEx-LoRA, Singhal et al. 2024 (arXiv 2410.09432): ``W <- W + s (sum_k p_k B_k A_k - mean(B) mean(A))``, with p_k
    shares of the training examples (the authors' code has 1 / K in all three means, which is exact as well). Slot
    ``base`` holds the plain product of all rounds so far (scale s inside); its rank, and what is sent down, grows by
    the sum of the clients' ranks each round up to min(d, k), where it is compressed exactly. Other tensors are averaged
    plainly.
    """

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("fedex-lora", adapter)
        counters = {"scale": torch.tensor(scale, dtype=torch.float64)}
        return {"adapter": adapter, "base": {}, "counters": counters}

    def step(state: State, total: Parcel) -> State:
        missed = _residuals(total.trees["stack"], total.trees["adapter"])
        base = grown(state["base"], missed, float(state["counters"]["scale"]))
        return state | {"adapter": state["adapter"] | total.trees["adapter"], "base": base}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        return Parcel({"adapter": state["adapter"], "base": state["base"]})

    return Method(stacked(halves=True), Server(init, step, send), needs="weights")


def _residuals(stack: Tree, means: Tree) -> dict[str, lora.Pair]:
    """``sum_k p_k B_k A_k - mean(B) mean(A)`` of each module, as the pair ``sum_k (B_k - mean(B)) (p_k A_k)``."""
    found: dict[str, lora.Pair] = {}
    mean = lora.pairs(means)
    for module, (a, b) in lora.pairs(stack).items():
        mean_b = mean[module][1]
        found[module] = a, b - mean_b.repeat(1, b.shape[1] // mean_b.shape[1])
    return found
