"""The split: the language model elsewhere, and one boundary between it and what a client holds.

client: Passage -> boundary.py -> request, bytes -> in this process, or dial.py == gRPC, TLS ==> host.py
host:   desk.py: request -> one pass of the language model -> losses or logits, and gradients -> bytes
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before gRPC is imported; else it prints a line for every try
