"""From pictures to tensors: preprocessed pixels and frozen features, each computed once."""
