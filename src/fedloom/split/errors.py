"""What goes wrong between a client and the language model's host."""

from fedloom.core.errors import FedloomError


class Refused(FedloomError):
    """A request, or an answer, that is not what it must be. It is not tried again; its text is told in full."""
