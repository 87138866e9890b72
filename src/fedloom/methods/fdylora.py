"""Adapters of different ranks, filled up with zeros and averaged by training examples."""

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Reduce, Server, State, Tree
from fedloom.methods import _levels
from fedloom.methods._common import only_pairs


def fdylora() -> Method:
    """A and B of any ranks, filled up with zeros and averaged; clients may have an alpha of their own.

    ``fdylora`` of FLoRA's code (arXiv 2404.15182; not confirmed by its text). With p_k client k's share of the
    examples, and A_k, B_k filled up with zeros to the largest rank::

        A = sum_k p_k A_k,   B = sum_k p_k B_k

    Client k gets the first r_k components. Components beyond the largest rank of a round's clients stay as they were.
    Ranks and alphas come from the data with ``adapter.rank_from = "data"`` and ``adapter.alpha_from = "data"``
    (``fedloom.core.ranks``). A client with an alpha of its own trains with it; what travels is B times its alpha over
    the table's, so that all replies and the model are of one scale. The code averages B as it is. Other tensors are
    averaged by training examples.

    Raises:
        FedloomError: of ``init``: a tensor R between B and A.
    """

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("fdylora", adapter)
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": state["adapter"] | lora.over(state["adapter"], total.trees["adapter"])}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        adapter = state["adapter"]
        return Parcel({"adapter": lora.truncate(adapter, client.rank) if client else adapter})

    def lower(total: _levels.Levels) -> Parcel:
        return _levels.mean(total, total.weights[:1].expand(len(total.weights)))

    reduce = Reduce(_levels.lift, _levels.merge, lower, additive=True)
    return Method(reduce, Server(init, step, send), mixed_ranks=True, mixed_scales=True, needs="products")
