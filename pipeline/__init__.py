"""The DVC stages, one a module. DVC runs `python -m pipeline.STAGE` in the repository root."""
