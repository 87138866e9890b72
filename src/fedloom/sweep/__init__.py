"""Sweeping: which runs a comparison consists of, how its rates are chosen, and running them, side by side if asked."""
