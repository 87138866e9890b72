"""Control variates against client drift."""

import torch

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Server, State, Tree
from fedloom.methods._change import with_change
from fedloom.methods._common import Weighting, mean, number


def scaffold(eta: float = 1.0, weighting: Weighting = "uniform") -> Method:
    """SCAFFOLD: control variates steer each client's steps towards the direction of all.

    Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1. A local step goes along ``g - c_k + c``; after K steps::

        c_k+ = (1 / K) sum of the raw gradients g          client
        x <- x + eta mean(y_k - x),  c <- c + (|S| / N) mean(c_k+ - c_k)          server, S the cohort, N all clients

    For plain SGD of rate lr, c_k+ is the paper's option II, ``c_k - c + (x - y_k) / (K lr)``, since then
    ``x - y_k = lr sum(g - c_k + c)``. Written with raw gradients it also holds for Adam and momentum, whose steps are
    not multiples of the gradient. The mean of the models is uniform as in the paper, or weighted by examples with
    ``weighting = "examples"``; that of the control variates is always uniform. Slot ``control`` holds c on its way
    down, c_k+ - c_k on its way up, and c_k at the client, zero before its first turn. A coarse ``channel.up`` rounds
    the change of c_k, so that c is then no longer the mean of all c_k.

    Raises:
        FedloomError: eta <= 0.
    """
    number("scaffold: eta", eta, above=0.0)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        return {
            "adapter": adapter,
            "control": tree.zeros_like(adapter),
            "counters": {"clients": torch.tensor(clients)},
        }

    def step(state: State, total: Parcel) -> State:
        part = int(total.facts["clients"]) / int(state["counters"]["clients"])
        control = tree.add(state["control"], total.trees["control"], part)
        return state | {"adapter": tree.add(state["adapter"], total.trees["change"], eta), "control": control}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        slots = ("adapter",) if client is None else ("adapter", "control")
        return Parcel({slot: state[slot] for slot in slots})

    local = Local(
        gradient=_correct,
        send=_change,
        keep=lambda run: {"control": _own(run)},
        reveals={"control": "gradients"},
    )
    return Method(with_change(mean(change=weighting, control="uniform")), Server(init, step, send), local)


def _before(run: LocalRun) -> Tree:
    """c_k as it was before this turn."""
    return run.kept.get("control") or tree.zeros_like(run.received.trees["control"])


def _correct(run: LocalRun) -> None:
    """Add the raw gradients up, then turn them: ``g <- g - c_k + c``. No gradient (a batch without images) is zero."""
    trained = {name: leaf for name, leaf in run.theta.items() if leaf.requires_grad}
    if "turn" not in run.scratch:
        run.scratch["turn"] = tree.to(tree.sub(run.received.trees["control"], _before(run)), trained)
        run.scratch["sum"] = {name: torch.zeros_like(leaf, requires_grad=False) for name, leaf in trained.items()}
    for name, leaf in trained.items():
        turn = run.scratch["turn"][name]
        if leaf.grad is None:
            leaf.grad = turn.clone()
        else:
            run.scratch["sum"][name].add_(leaf.grad)
            leaf.grad.add_(turn)


def _own(run: LocalRun) -> Tree:
    """c_k+: the mean raw gradient of this turn, or c_k where there was no step or no gradient."""
    sums = run.scratch.get("sum", {})
    return _before(run) | {name: value.cpu() / run.steps for name, value in sums.items()}


def _change(run: LocalRun) -> dict[str, Tree]:
    """c_k+ - c_k, for the server."""
    return {"control": tree.sub(_own(run), _before(run))}
