"""Mesh files from other programs: read, checked, closed, facing outwards."""
