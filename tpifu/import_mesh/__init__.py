"""Mesh files of other programs: read, checked, closed, facing outwards."""
