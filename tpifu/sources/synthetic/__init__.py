"""Procedural motion on the embedded body, written in SURREAL's layout."""
