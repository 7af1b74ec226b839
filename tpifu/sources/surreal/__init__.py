"""SURREAL: the authors' lists of clips and the licensed download."""
