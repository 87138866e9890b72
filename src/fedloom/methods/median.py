"""The median of the clients, entry by entry."""

from torch import Tensor

from fedloom.core.contracts import Method
from fedloom.methods._robust import by_entry


def median() -> Method:
    """The coordinate-wise median of the clients' adapters: fewer than half of them cannot move it beyond the others.

    Yin et al. 2018 (arXiv 1803.01498), Definition 1: each entry is the median of the clients' values; of an even number
    the mean of the two in the middle. Clients count all the same, whatever they hold. One client alone is its own
    median, two have their mean. For LoRA pairs the rule acts on A and B as they are, tensor by tensor: every entry of
    the two factors is kept within the honest ones, but med(B) med(A) is not the median of the products B A.
    """
    return by_entry(_middle)


def _middle(ascending: Tensor) -> Tensor:
    count = len(ascending)
    return (ascending[(count - 1) // 2] + ascending[count // 2]) / 2
