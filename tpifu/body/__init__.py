"""SMPL-format bodies: skeleton, posing, SMPL's own model files."""
