"""The DVC stages, one module each. DVC runs `python -m pipeline.STAGE` in the repository root."""
