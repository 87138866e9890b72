"""One round: B keeps its signs and is averaged, A is merged along its principal directions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedloom.core import beside, lora, tree
from fedloom.core.contracts import ClientInfo, Method, Parcel, Reduce, Tree
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import Weighting, mean, number
from fedloom.methods.conflict import counted
from fedloom.methods.yoco_sign import yoco_sign


@dataclass
class Replies:
    """Replies so far: all but A as a running mean; each client's weight and its A, module by module."""

    plain: WeightedSum
    weights: list[float]
    rows: dict[str, list[Tensor]]


def yoco(
    pca: bool = True,
    components: int = 3,
    strength: float = 1.0,
    sharpest: float = 200.0,
    sparse: float = 0.0,
    orthogonal: float = 0.0,
    weighting: Weighting = "examples",
) -> Method:
    """YOCO: one-shot federated LoRA whose clients keep the signs of B, and whose A are merged by PCA.

    YOCO (NeurIPS 2025), for ``rounds = 1`` and ``adapter.init = "svd"``; the client half is ``yoco-sign``. With p_k the
    clients' shares of the examples (or 1 / K), the server takes ``B = sum_k p_k B_k``, and for each module, with a_k
    the flattened A_k, a their plain mean and V the ``components`` first principal directions of the a_k - a::

        A = a + V sum_k p_k V^T (a_k - a)

    So the clients' weights act along the directions in which they differ most, and the plain mean elsewhere; with
    K - 1 components it is the weighted mean. That the paper flattens, stacks, takes a PCA, weighs the first coordinates
    and maps back is confirmed; how many coordinates it takes is not, and the released branch has no PCA:
    ``pca = false`` is its weighted mean. Tensors that are no pairs are averaged as B is. The conflict rate of the
    replies is counted beside (see ``conflict``). With ``pca`` it is not additive: all A are held until the last came.

    Raises:
        FedloomError: components below 1; as ``yoco-sign``.
    """
    number("yoco: components", components, least=1)
    held = yoco_sign(strength, sharpest, sparse, orthogonal)
    if not pca:
        return beside.attached(replace(held, reduce=mean(adapter=weighting)), counted())

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Replies:
        adapter, weight = reply.trees["adapter"], float(client.examples if weighting == "examples" else 1)
        rows = {name: [value] for name, value in adapter.items() if name.endswith(lora.A)}
        return Replies(WeightedSum.of(tree.select(adapter, lambda name: name not in rows), weight), [weight], rows)

    def merge(left: Replies, right: Replies) -> Replies:
        left.plain.merge(right.plain)
        for name, rows in left.rows.items():
            rows += right.rows[name]
        return Replies(left.plain, left.weights + right.weights, left.rows)

    def lower(total: Replies) -> Parcel:
        merged = {name: principal(rows, total.weights, components) for name, rows in total.rows.items()}
        return Parcel({"adapter": total.plain.mean() | merged})

    return beside.attached(replace(held, reduce=Reduce(lift, merge, lower, additive=False)), counted())


def principal(values: Sequence[Tensor], weights: Sequence[float], components: int) -> Tensor:
    """The plain mean of the values, moved to their weighted mean along their first principal directions.

    With C ``[K, entries]`` the centred values and ``C = U S V^T``, ``V V^T C^T p = C^T U U^T p``: the directions V are
    never needed, and the result is a sum of the values.
    """
    rows = torch.stack([value.detach().to("cpu", torch.float64).reshape(-1) for value in values])
    shares = torch.tensor(weights, dtype=torch.float64)
    centre = rows.mean(0)
    centred = rows - centre
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    u = u[:, :components] * (s[:components] > s.max() * len(rows) * torch.finfo(torch.float64).eps)
    moved: Tensor = centre + centred.T @ (u @ (u.T @ (shares / shares.sum())))
    return moved.reshape(values[0].shape).to(values[0].dtype)
