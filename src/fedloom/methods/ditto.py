"""A shared adapter by averaging, and beside it a personal one that is pulled towards it."""

from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import Local, LocalRun, Method, Parcel, Personal, Tree
from fedloom.methods._common import Weighting, mean, number, replace_server


def ditto(lam: float = 0.1, weighting: Weighting = "uniform") -> Method:
    """Ditto: FedAvg, and a personal adapter a client that answers its examples and never leaves it.

    Li et al. 2021 (arXiv 2012.04221), Algorithm 1: the personal v_k minimises ``F_k(v) + (lam / 2) ||v - w^t||^2``,
    with w^t the shared adapter as the client received it. It goes on from where its last turn left it, and begins as
    the shared adapter of the client's first turn. The authors' code steps on both adapters batch by batch; neither
    sees the other's steps, so here one is trained after the other, each as long as ``client`` says. The shared mean is
    uniform as in their code, or FedAvg's with ``weighting = "examples"``. ``lam = 0`` is local training beside FedAvg.

    Raises:
        FedloomError: lam < 0.
    """
    number("ditto: lam", lam, least=0.0)

    def term(run: LocalRun) -> Tensor:
        trained = {name: value for name, value in run.theta.items() if value.requires_grad}
        if "shared" not in run.scratch:
            run.scratch["shared"] = tree.to(run.received.trees["adapter"], trained)
        return lam / 2 * tree.squared_norm(tree.sub(trained, run.scratch["shared"]))

    personal = Personal(begin=_own, model=_own, term=term)
    return Method(mean(adapter=weighting), replace_server(), Local(personal=personal))


def _own(shared: Parcel, own: Tree | None, scale: float) -> tuple[Tree, Tree]:
    """The personal adapter; before the first turn, the shared one."""
    return shared.trees["adapter"] if own is None else own, shared.trees.get("base", {})
