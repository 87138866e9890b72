"""All data in one place."""

from dataclasses import replace

from fedloom.core.contracts import Local, Method
from fedloom.methods.fedavg import fedavg


def centralised() -> Method:
    """All clients' data trained on in one place, as one client: what federation is measured against.

    It is plain training for ``rounds`` times ``client.epochs`` epochs over all data, cut into rounds only to be
    measured as often: the optimiser's state (AdamW's moments and step count) goes on from round to round, through a
    checkpoint too. Each example is seen as often as where every client takes part in every round.

    It is called a bound because it lacks what federation costs, not because nothing could be better: no theorem puts a
    federated score below it. Its steps are as many as those of all clients together, each on a batch of everybody's
    data, so a learning rate that suits a client's few steps may be too large or too small here: choose it anew.
    """
    return replace(fedavg(), local=Local(goes_on=True), pooled=True)
