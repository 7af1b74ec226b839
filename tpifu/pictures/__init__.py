"""Meshes drawn for people: tiles, contact sheets, movies, glTF."""
