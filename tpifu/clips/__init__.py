"""Clips of motion on disk, in SURREAL's layout, and the splits."""
