"""The records that the axes are made of: what a task, scenario, model, method and engine must provide.

    Sample --task.word--> Example --backbone.loss--> gradients --method--> Parcel --wire--> bytes

Everything here is data or a plain function; nothing imports a sibling room.
"""

from fedloom.core.contracts.adapter import Adapter, Base
from fedloom.core.contracts.data import (
    IMAGE,
    Answered,
    Data,
    Example,
    Form,
    Metric,
    Picture,
    Sample,
    Scenario,
    Task,
    Tree,
    present,
)
from fedloom.core.contracts.engine import Engine, Job, Reply
from fedloom.core.contracts.method import (
    Beside,
    ClientInfo,
    Local,
    LocalRun,
    Method,
    Need,
    Parcel,
    Personal,
    Reduce,
    Sampler,
    Server,
    State,
    everything,
    nothing,
)
from fedloom.core.contracts.modality import Half, Modality, Seat
from fedloom.core.contracts.model import Backbone, Examiner, Learner, Preparer, Scaler, Weigher
from fedloom.core.contracts.objective import Choices, Labels, Objective, Outputs, Pairs, Part, Predictions

__all__ = [
    "IMAGE",
    "Adapter",
    "Answered",
    "Backbone",
    "Base",
    "Beside",
    "Choices",
    "ClientInfo",
    "Data",
    "Engine",
    "Examiner",
    "Example",
    "Form",
    "Half",
    "Job",
    "Labels",
    "Learner",
    "Local",
    "LocalRun",
    "Method",
    "Metric",
    "Modality",
    "Need",
    "Objective",
    "Outputs",
    "Pairs",
    "Parcel",
    "Part",
    "Personal",
    "Picture",
    "Predictions",
    "Preparer",
    "Reduce",
    "Reply",
    "Sample",
    "Sampler",
    "Scaler",
    "Scenario",
    "Seat",
    "Server",
    "State",
    "Task",
    "Tree",
    "Weigher",
    "everything",
    "nothing",
    "present",
]
