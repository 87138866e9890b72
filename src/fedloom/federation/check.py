"""Refusing an experiment before anything runs, by what only its choices know to be wrong."""

from fedloom.channel import pipeline
from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.keys import AXES


def check_experiment(experiment: Experiment) -> None:
    """Refuse, before anything runs, what only the chosen tasks, scenarios, methods and stages know to be wrong.

    Raises:
        FedloomError: an unknown name, option or stage, an option of the wrong type or out of bounds.
    """
    for key in AXES:
        config.build(experiment, key)
    pipeline(list(experiment.channel.up))
    pipeline(list(experiment.channel.down), down=True)
