"""Modalities: which of an example's pictures and texts are there. One file a rule."""
