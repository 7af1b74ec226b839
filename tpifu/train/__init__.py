"""Steps, optimisers, checkpoints, several processes."""
