"""The mean of the clients that are nearest to the others."""

from fedloom.core.contracts import Method
from fedloom.methods._robust import nearest_to_all


def multi_krum(byzantine: int | None = None, keep: int | None = None) -> Method:
    """The plain mean of the ``keep`` adapters with the lowest Krum scores.

    Blanchard et al. 2017 (NIPS; as recalled, and as in Flower's code, which weights by examples): scores, f =
    ``byzantine`` and what happens below three clients as for ``krum``; they are computed once, not again after each
    choice. ``keep`` m = 1 is Krum. ``None``: n - f - 2, at least one, the largest for which the theory holds (as
    recalled); up to n - f may be asked for, and where fewer answer no more are taken than that. For LoRA pairs A and B
    are averaged as they are, tensor by tensor.

    Raises:
        FedloomError: byzantine < 0 or keep < 1; of n clients, 2 byzantine + 2 >= n or keep > n - f.
    """
    return nearest_to_all("multi-krum", byzantine, keep)
