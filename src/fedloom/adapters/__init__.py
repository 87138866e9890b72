"""Adapters: what learns in a model. One file a kind; its builder function bears the file's name."""

from fedloom.adapters._budget import ranks, started, wanted
from fedloom.adapters._folder import PREFIX, Home
from fedloom.adapters._placed import Placed, parameters

__all__ = ["PREFIX", "Home", "Placed", "parameters", "ranks", "started", "wanted"]
