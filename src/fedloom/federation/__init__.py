"""Federation: the one round loop, the one local training loop, evaluation, and the record that a run leaves."""
