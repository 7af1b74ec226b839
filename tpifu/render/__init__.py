"""Mesh, camera and light to image and mask, by OpenGL or Embree."""
