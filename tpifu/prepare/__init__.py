"""The three data stages: clips to meshes, meshes to views, meshes to points."""
