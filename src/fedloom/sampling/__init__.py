"""Sampling: who takes part in a round. One file a choice; its builder function bears the file's name."""
