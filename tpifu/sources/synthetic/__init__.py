"""Procedural motion on the embedded body, written as a SURREAL-shaped tree."""
