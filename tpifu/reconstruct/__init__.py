"""Occupancy field to grid to mesh; a person's clip to a folder of meshes."""
