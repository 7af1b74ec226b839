"""Pictures of meshes for people: tiles, contact sheets, movies, glTF."""
