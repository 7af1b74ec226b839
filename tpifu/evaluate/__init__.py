"""A model over held-out clips."""
