"""Federated averaging whose clients are held near where they began, layer by layer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fedloom.core import beside, layers, tree
from fedloom.core.contracts import Local, LocalRun, Method, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import number
from fedloom.methods._divergence import DIVERGENCE, divergence, tell
from fedloom.methods.fedavg import fedavg

Kind = Literal["base", "adaptive", "measured"]

FEW = 7
"""Of a stack of fewer than 28 layers, one in seven is left out at either end: 4 of 28."""


def layerwise(
    kind: Kind = "base",
    mu: float = 0.01,
    margin: int | None = None,
    weight: float | None = None,
    memory: float = 0.5,
) -> Method:
    """FedAvg with a proximal term whose strength depends on the layer: FedMLLM's regularisation.

    FedMLLM, arXiv 2411.14717, as its released code has it. With theta_l the trainable tensors of layer l, L the layers
    of its stack and s the ``margin``, each client minimises::

        F_k(theta) + (mu / 2) w sum over l from s to L - 1 - s of c_l ||theta_l - theta_l^t||^2

    - ``"base"``: s = 0, w = 1, c = 1; the term of ``fedprox``.
    - ``"adaptive"``: s = 4, w = 0.1, c = 1, the middle layers alone. The code sets both by hand, and writes L = 28.
      Here L is that of the adapter's names (the highest number of a layer and one), and where it is below 28 the margin
      is ``L / 7`` to the nearest, so that four layers have the middle two. A ``margin`` that is given is taken as it
      is.
    - ``"measured"``, ours: s = 0, w = 1, and c_l is how far clients of different modality drew apart in layer l, which
      the server measures in each round beside the method's own merge::

          c_l = sum_g W_g ||m_g - m||^2 / sum_k n_k ||D_k||^2,   m_g = sum_k n_k p_kg D_k / W_g,   W_g = sum_k n_k p_kg

      with D_k the change of the layer's tensors at client k, n_k its examples, p_kg the share of them that has the
      modalities g (``image+text``, ``image``, ``text``, ``neither``) and m the mean of all D_k. It is the share of the
      mean squared change that lies between the groups: 0 where all groups move alike, and where every client has the
      same mix; 1 where nothing but the modality tells how a client moves. K clients of G groups, one each, that have
      nothing in common come to some (G - 1) / K by chance. A round that sees one group alone measures nothing; of
      others, ``c_l <- memory c_l + (1 - memory) measured``, from the first measurement on. Before it c = 0: nothing is
      held back that was not seen to part, and clients of one kind have the bits of the method without the term.

    What is in no numbered layer (a connector, a head) counts where s is 0, and not where it is more. The term takes the
    tensors A and B as they are, not their products. With ``"measured"`` a client tells p_kg in slot ``modality``, and
    is sent c, a number a layer, in slot ``layerwise``; it works beside any merge (``method.with =
    ["layerwise:measured"]``).

    Raises:
        FedloomError: mu, weight or margin below 0, a memory outside [0, 1), a margin for ``"measured"``; of ``fits``: a
            margin that leaves no layer.
    """
    if kind not in ("base", "adaptive", "measured"):
        raise FedloomError(f"layerwise: kind is {kind!r}, expected base, adaptive or measured.")
    if kind == "measured" and margin is not None:
        raise FedloomError("layerwise: kind = 'measured' weighs every layer and has no margin. Fix: leave margin out.")
    share = (0.1 if kind == "adaptive" else 1.0) if weight is None else weight
    number("layerwise: mu", mu, least=0.0)
    number("layerwise: weight", share, least=0.0)
    number("layerwise: margin", margin or 0, least=0)
    number("layerwise: memory", memory, least=0.0, below=1.0)
    if kind == "measured":
        local = Local(term=_term(mu * share, _told), send=tell, reveals={"modality": "modality"})
        return replace(beside.attached(fedavg(), divergence(memory)), local=local)

    def fits(adapter: Tree) -> None:
        if not any(_fixed(adapter, kind, margin).values()):
            deep = ", ".join(f"{stack} has {count}" for stack, count in layers.depths(adapter).items())
            raise FedloomError(
                f"layerwise: {'margin = ' + str(margin) if margin is not None else repr(kind)} leaves no layer to hold "
                f"({deep or 'the adapter is in no numbered layer'}). Fix: lower method.margin, or use kind = 'base'."
            )

    term = _term(mu * share, lambda run: _fixed(run.start, kind, margin))
    return replace(fedavg(), local=Local(term=term, fits=fits))


def _term(strength: float, coefficients: Callable[[LocalRun], dict[str, float]]) -> Callable[[LocalRun], Tensor]:
    """``strength / 2`` times the squared distance from the start, tensor by tensor with its coefficient."""

    def term(run: LocalRun) -> Tensor:
        if "start" not in run.scratch:
            weights = run.scratch["weights"] = coefficients(run)
            held = {name for name, leaf in run.theta.items() if leaf.requires_grad and weights[name]}
            run.scratch["start"] = tree.to(run.start, tree.select(run.theta, held.__contains__))
        start, weights = run.scratch["start"], run.scratch["weights"]
        parts = (weights[name] * (run.theta[name] - value).square().sum() for name, value in start.items())
        return strength / 2 * sum(parts, torch.zeros(()))

    return term


def _told(run: LocalRun) -> dict[str, float]:
    """What the server measured of the layer of each tensor.

    Raises:
        FedloomError: it sent no number for each layer.
    """
    told = run.received.trees.get(DIVERGENCE, {}).get("divergence")
    order = layers.labels(run.start)
    if told is None or told.shape != (len(order),):
        raise FedloomError(
            f"Slot {DIVERGENCE!r} of the server's parcel has no number for each of {len(order)} layers. Both sides "
            "must use layerwise with the same adapter."
        )
    by_layer = dict(zip(order, told.double().tolist(), strict=True))
    return {name: by_layer[layers.label(layers.layer(name))] for name in run.start}


def _fixed(adapter: Tree, kind: Kind, margin: int | None) -> dict[str, float]:
    """1 for each tensor that is held, 0 for the others."""
    depths, found = layers.depths(adapter), {}
    least = {stack: _margin(kind, margin, depth) for stack, depth in depths.items()}
    everywhere = not (margin if margin is not None else kind == "adaptive")
    for name in adapter:
        stack, place = layers.layer(name)
        inside = least[stack] <= place < depths[stack] - least[stack] if stack else everywhere
        found[name] = float(inside)
    return found


def _margin(kind: Kind, margin: int | None, depth: int) -> int:
    """How many layers at either end of a stack are left out."""
    if margin is not None:
        return margin
    return min(4, round(depth / FEW)) if kind == "adaptive" else 0
