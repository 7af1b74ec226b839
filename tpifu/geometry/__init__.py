"""Camera, mesh, sampling, nearest point, inside test."""
