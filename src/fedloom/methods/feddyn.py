"""Dynamic regularisation: clients whose own optima agree with that of all."""

import torch
from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import Local, LocalRun, Method, Parcel, Server, State, Tree
from fedloom.methods._change import with_change
from fedloom.methods._common import mean, number, send_adapter


def feddyn(alpha: float = 0.1) -> Method:
    """FedDyn: a linear term that each client remembers, and a pull, make all clients' optima one.

    Acar et al. 2021 (arXiv 2111.04263), Algorithm 1, with m clients in all, of which P take part::

        theta_k = argmin F_k(theta) - <g_k, theta> + (alpha / 2) ||theta - theta^t||^2,  g_k <- g_k - alpha c_k
        h <- h - (alpha / m) sum_P c_k,  theta^{t+1} = (1 / |P|) sum_P theta_k - h / alpha,   c_k = theta_k - theta^t

    ``argmin`` is the client's usual training; theta^t is what it began from. Clients count the same whatever they hold,
    so the fixed point is the optimum of the plain sum of their mean losses; the authors' code divides alpha by a
    client's relative size besides, which Algorithm 1 does not. Slot ``gradient`` is g_k at the client and h at the
    server, both zero at first; h is the mean of all g_k as long as ``channel.up`` loses nothing.

    Raises:
        FedloomError: alpha <= 0.
    """
    number("feddyn: alpha", alpha, above=0.0)

    def term(run: LocalRun) -> Tensor:
        trained = {name: value for name, value in run.theta.items() if value.requires_grad}
        if "start" not in run.scratch:
            run.scratch["start"] = tree.to(run.start, trained)
            run.scratch["gradient"] = tree.to(run.kept.get("gradient", {}), trained)
        own: Tree = run.scratch["gradient"]
        linear = sum(((own[name] * trained[name]).sum() for name in own), torch.zeros(()))
        return alpha / 2 * tree.squared_norm(tree.sub(trained, run.scratch["start"])) - linear

    def keep(run: LocalRun) -> dict[str, Tree]:
        ended = {name: value.detach().cpu() for name, value in run.theta.items()}
        before = run.kept.get("gradient") or tree.zeros_like(ended)
        return {"gradient": tree.add(before, tree.sub(ended, run.start), -alpha)}

    def init(adapter: Tree, scale: float, clients: int) -> State:
        counters = {"clients": torch.tensor(clients)}
        return {"adapter": adapter, "gradient": tree.zeros_like(adapter), "counters": counters}

    def step(state: State, total: Parcel) -> State:
        part = int(total.facts["clients"]) / int(state["counters"]["clients"])
        h = tree.add(state["gradient"], total.trees["change"], -alpha * part)
        means = total.trees["adapter"]
        return state | {
            "adapter": state["adapter"] | {name: value - h[name] / alpha for name, value in means.items()},
            "gradient": h,
        }

    reduce = with_change(mean(adapter="uniform", change="uniform"))
    return Method(reduce, Server(init, step, send_adapter), Local(term=term, keep=keep))
