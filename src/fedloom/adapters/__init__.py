"""Adapters: what learns in a model. One file a kind; its builder function bears the file's name."""
