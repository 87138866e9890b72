"""Planning: what an experiment will send and need, before it runs, with no data and no weights."""
