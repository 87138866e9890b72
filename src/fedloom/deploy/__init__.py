"""Getting a consortium to run: certificates and keys, Flower's processes, everything on one machine, and the folder
that a real one starts from."""
