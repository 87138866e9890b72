"""Engines: where clients run. One file a choice; its builder function bears the file's name."""
