"""Objectives: what clients minimise. One file a loss."""
