"""Renders a mesh under a camera and a light to an image and a mask, with OpenGL or Embree."""
