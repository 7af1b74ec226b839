"""The `tpifu` command, one command a file."""
