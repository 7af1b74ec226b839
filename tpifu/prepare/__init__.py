"""Clips to meshes, meshes to views and points: the three data stages."""
