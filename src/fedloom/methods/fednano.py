"""Averaging in which each entry of a client's adapter counts by how much the client's data depend on it."""

from fedloom.core.contracts import Method
from fedloom.methods._capped import check_cap
from fedloom.methods._fisher import by_fisher, of_examples


def fednano(cap: float = 2.0) -> Method:
    """The mean of the clients' adapters, entry by entry weighted by their Fisher information after training.

    FedNano, arXiv 2506.14824 (as recalled; no code was released), entry by entry::

        theta = sum_k F_k theta_k / sum_k F_k,   F_k = mean over the client's examples of (d log p(y|x) / d theta)^2

    at the client's trained adapter and without dropout: a further pass over its data, one example at a time, since the
    square is of each example's gradient; an example that has no picture has a gradient of zero by what only pictures
    reach. Slot ``fisher`` holds F_k on its way up, which doubles the upload; it is counted.

    What the paper leaves open, and what is done here:

    - y is the data's own answer, none drawn from the model (the empirical Fisher), and log p is minus the model's loss:
      for a generative one the mean over the tokens of the answer, so long answers do not count more.
    - The formula has no p_k: a client counts by its Fisher alone, however many examples are behind it. An entry whose
      Fisher is zero at every client is their plain mean, weighted by examples.
    - F_k travels in the adapter's type; a coarse ``channel.up`` may round small ones to zero.

    A contrastive loss within a batch tells nothing of one example alone (F_k is zero): use ``fednano-ef`` there.
    The merge takes any adapter; that of the paper is ``adapter.kind = "nano"``.

    ``cap`` is ours: whoever sends a Fisher of 1e30 would otherwise be the model. Of the K clients of a round, none
    counts for more than ``cap / K`` of an entry, so that of five an attacker has at most 2/5 of it (FedAvg: its share
    of the examples). It takes effect without attackers, too, where one client's data alone depend on an entry;
    docs/results/caps.md has what that costs. ``cap = 0`` is the paper's formula.

    Raises:
        FedloomError: a cap that is neither 0 nor at least 1.
    """
    check_cap("fednano: cap", cap)
    return by_fisher(of_examples(), cap)
