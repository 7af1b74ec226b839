"""Turns an occupancy field into a grid and a mesh, and a person's clip into a folder of meshes."""
