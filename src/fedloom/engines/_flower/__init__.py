"""What is Flower's alone: who is at which node, what a ServerApp says of itself, and an experiment as a Flower app."""
