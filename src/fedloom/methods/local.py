"""Every client alone."""

from fedloom.core.contracts import Method, nothing
from fedloom.methods._common import mean, replace_server


def local() -> Method:
    """Every client trains alone and nothing is shared: what a client could do without the others.

    The global adapter stays the start adapter for ever; each client keeps its own.
    """
    return Method(reduce=mean(adapter="examples"), server=replace_server(), shares=nothing)
