"""FedNano's merge with a Fisher information that costs no pass over the data."""

from fedloom.core.contracts import Method
from fedloom.methods._capped import check_cap
from fedloom.methods._fisher import by_fisher, of_batches


def fednano_ef(cap: float = 2.0) -> Method:
    """The mean of the clients' adapters, entry by entry weighted by the running mean of squared training gradients.

    FedNano-EF, arXiv 2506.14824 (as recalled; no code was released), entry by entry::

        theta = sum_k F_k theta_k / sum_k F_k,   F_k = mean over the turn's steps of (d loss / d theta)^2

    with the gradients that the steps had anyway, each at the adapter before its step and with the dropout of that step
    (``adapter.dropout``). The rest is as in ``fednano``:
    slot ``fisher`` doubles the upload, and an entry whose Fisher is zero everywhere is the plain mean.

    What the paper leaves open, and what is done here: the mean is plain, of all the steps of one turn alike, none of it
    kept for the next. A step's gradient is that of its batch's mean loss, whose square is at most the mean of its
    examples' squares, and smaller the larger the batch: clients are compared fairly where all have one batch size.

    ``cap`` is ours, as in ``fednano``: none of K clients counts for more than ``cap / K`` of an entry.

    Raises:
        FedloomError: a cap that is neither 0 nor at least 1.
    """
    check_cap("fednano-ef: cap", cap)
    return by_fisher(of_batches(), cap)
