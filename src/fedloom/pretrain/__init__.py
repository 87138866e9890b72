"""How the nano models are made: one vision tower from dense labels, then CLIP's and LLaVA's other halves on top."""
