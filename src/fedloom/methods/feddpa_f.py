"""A shared adapter by averaging, fine-tuned by each client; the two answer together."""

from dataclasses import replace

from fedloom.core import lora
from fedloom.core.contracts import Local, Method, Parcel, Personal, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import grown, mean, only_pairs, replace_server, rest


def feddpa_f(weight: float = 0.5) -> Method:
    """FedDPA-F: FedAvg, then a personal adapter fine-tuned from the shared one; both answer, mixed.

    arXiv 2403.19211 (NeurIPS 2024). The personal adapter l begins as a copy of the shared adapter g and is tuned alone,
    with g inactive. At the answer both are active, with a = ``weight`` on the personal one::

        h = W0 x + s [(1 - a) B_g A_g x + a B_l A_l x]

    That the mix is a convex one is confirmed; which of the two adapters the paper's weight is on is not. At 1/2 it is
    the same; else ``1 - weight`` is the other reading. Tensors that are no LoRA pairs are mixed in the same way. The
    paper chooses a anew for each example, by its likeness to the client's data: that is not built, a is fixed. The
    paper tunes once, after the last round; here every turn tunes, from what it received, so that any round can be
    measured. The personal adapter of a client's last turn is the paper's but for the averaging that came after it.

    Raises:
        FedloomError: weight outside [0, 1]; of ``init``: a tensor R between B and A.
    """
    if not 0 <= weight <= 1:
        raise FedloomError(f"feddpa-f: weight is {weight!r}, expected a number from 0 to 1.")

    def begin(shared: Parcel, own: Tree | None, scale: float) -> tuple[Tree, Tree]:
        return shared.trees["adapter"], shared.trees.get("base", {})

    def model(shared: Parcel, own: Tree | None, scale: float) -> tuple[Tree, Tree]:
        adapter, base = begin(shared, None, scale)
        if own is None:
            return adapter, base
        mixed = {name: (1 - weight) * value + weight * own[name] for name, value in rest(adapter).items()}
        scaled = {name: value * weight for name, value in own.items() if name.endswith(lora.B)}
        return own | mixed | scaled, grown(base, lora.pairs(adapter), (1 - weight) * scale)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("feddpa-f", adapter)
        return {"adapter": adapter}

    server = replace(replace_server(), init=init)
    return Method(mean(adapter="examples"), server, Local(personal=Personal(begin, model)), needs="weights")
