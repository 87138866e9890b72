"""Adapters: what learns in a model. One file a kind; its builder function bears the file's name."""

from fedloom.adapters._budget import ranks, wanted
from fedloom.adapters._folder import Home
from fedloom.adapters._placed import Placed, parameters

__all__ = ["Home", "Placed", "parameters", "ranks", "wanted"]
