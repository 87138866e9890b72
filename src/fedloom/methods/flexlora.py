"""The mean of the products, cut to each client's rank."""

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.methods._common import only_pairs, stacked


def flexlora() -> Method:
    """The mean of the clients' products B A, sent back as its best factors of each client's own rank.

    Bai et al. 2024 (arXiv 2402.11505), eq. (3)-(4): ``dW = sum_k p_k s B_k A_k = U S V^T``, and client k gets its r_k
    largest components. Those are the first r_k of the r largest, so the state keeps one adapter of the largest rank r,
    its components in order. Factors are ``sqrt(S) V^T`` and ``U sqrt(S)``; the scale s is one number for all ranks and
    cancels. Where dW has fewer than r components (at first it is zero), the rest of A is the start adapter's, against
    zeros in B: the product is the same, and there is something to learn with. Other tensors are averaged plainly.
    """

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("flexlora", adapter)
        start = {module: a for module, (a, _) in lora.pairs(adapter).items()}
        return {"adapter": adapter | _factors(adapter, start), "start": start}

    def step(state: State, total: Parcel) -> State:
        factors = _factors(total.trees["stack"], state["start"])
        return state | {"adapter": state["adapter"] | total.trees["adapter"] | factors}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        adapter = state["adapter"]
        return Parcel({"adapter": adapter if client is None else lora.truncate(adapter, client.rank)})

    return Method(stacked(), Server(init, step, send), mixed_ranks=True, needs="products")


def _factors(products: Tree, start: Tree) -> Tree:
    """Each module's product as its largest components, filled up to the rank of the start A with that A and zeros."""
    filled: dict[str, lora.Pair] = {}
    for module, pair in lora.pairs(products).items():
        rank = start[module].shape[0]
        a, b = lora.product_svd(*pair, rank)
        zeros = b.new_zeros(b.shape[0], rank - a.shape[0])
        filled[module] = torch.cat([a, start[module][a.shape[0] :]]), torch.cat([b, zeros], dim=1)
    return lora.tree(filled)
