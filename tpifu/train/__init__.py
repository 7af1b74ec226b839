"""Training: steps, optimisers, checkpoints, distributed processes."""
