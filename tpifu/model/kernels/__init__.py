"""Faster layers, each beside the plain layer it replaces."""
