"""Who holds what: each file names one way of sharing groups of examples among clients."""
