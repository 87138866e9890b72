"""From a model's name to its weights: the hub and folders, whole models and halves, and their hashes."""
