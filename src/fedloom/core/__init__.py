"""What every room stands on: named tensors, LoRA pairs, random streams, bytes, configuration, errors."""
