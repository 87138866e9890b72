"""Text: tokens, sequences, captions, the language model of a checkpoint and how it answers."""
