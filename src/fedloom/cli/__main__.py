"""``python -m fedloom.cli``."""

from fedloom.cli import main

main()
