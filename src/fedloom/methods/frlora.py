"""What a round learned goes into the base; everyone begins again from the same start."""

from typing import Literal

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import Weighting, grown, mean, only_pairs, rest, stacked


def frlora(average: Literal["factors", "products"] = "factors", weighting: Weighting = "examples") -> Method:
    """Every round begins with everyone's start adapter A_0, B_0; what the round changed is merged into the base.

    FRLoRA (ICLR 2025, openreview e0rQRMUhs7). With ``average``::

        factors     W <- W + s (mean(B) mean(A) - B_0 A_0)            the paper's, and the authors' code
        products    W <- W + s (sum_k p_k B_k A_k - B_0 A_0)          ours: exactly the mean of the clients' changes

    and the global model is the new W with the start adapter, which is all that a client gets: the pairs it has already.
    Meant for ``adapter.init = "svd"``, where A_0, B_0 are the largest singular directions of the weight and the
    backbone takes s B_0 A_0 out of it. Slot ``base`` holds the plain product of all rounds so far (scale s inside); its
    rank, and what is sent down, grows each round by r and the sum of the clients' ranks (``factors``: by 2 r) up to
    min(d, k), where it is compressed exactly. Other tensors are averaged plainly; p_k are shares of the training
    examples, or 1/K with ``weighting = "uniform"``.

    The authors' code weighs clients by 1/K, whatever they hold, and trains B alone: A stays A_0, where both rules are
    the same. Here A is trained as well, as the paper's formula has it.

    Raises:
        FedloomError: an unknown ``average``; of ``init``: a tensor R between B and A.
    """
    if average not in ("products", "factors"):
        raise FedloomError(f"frlora: average is {average!r}, expected products or factors.")
    exact = average == "products"

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("frlora", adapter)
        counters = {"scale": torch.tensor(scale, dtype=torch.float64)}
        return {"adapter": adapter, "base": {}, "counters": counters}

    def step(state: State, total: Parcel) -> State:
        start = lora.pairs(state["adapter"])
        learned = lora.pairs(total.trees["stack" if exact else "adapter"])
        change = {module: lora.stack([(1.0, *pair), (-1.0, *start[module])]) for module, pair in learned.items()}
        base = grown(state["base"], change, float(state["counters"]["scale"]))
        return state | {"adapter": state["adapter"] | rest(total.trees["adapter"]), "base": base}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        return Parcel({"adapter": state["adapter"], "base": state["base"]})

    reduce = stacked(weighting) if exact else mean(adapter=weighting)
    return Method(reduce, Server(init, step, send), needs="weights")
