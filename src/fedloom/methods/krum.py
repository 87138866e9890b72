"""The one client that is nearest to the others."""

from fedloom.core.contracts import Method
from fedloom.methods._robust import nearest_to_all


def krum(byzantine: int | None = None) -> Method:
    """The adapter of one client: the one whose nearest others are nearest.

    Blanchard et al. 2017 (NIPS; as recalled, and as in Flower's code): client i has the score ``s(i) = sum |theta_i -
    theta_j|^2`` over its n - f - 2 nearest others j, and the lowest score wins; of equal ones, the client whose name
    comes first. f = ``byzantine`` is how many of the n clients may be attackers; 2f + 2 < n must hold. ``None``: the
    largest such f; so it is in a round in which fewer answer than f needs, since whoever sends nothing that can be used
    should not end the run. Below three clients there is no such f, and nothing is withstood: one client alone is the
    result, and of two the first by name.

    Distances are over the whole adapter. For LoRA pairs they are between the factors A and B as they are, not between
    the products B A: two clients with the same product and other factors are far apart.

    Raises:
        FedloomError: byzantine < 0, or 2 byzantine + 2 >= the clients there are.
    """
    return nearest_to_all("krum", byzantine, keep=1)
