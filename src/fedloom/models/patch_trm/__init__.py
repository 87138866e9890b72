"""Patch-TRM: its network, its pictures and words, and how it is built."""
