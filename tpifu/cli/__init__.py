"""The `tpifu` command. Each subcommand has its own file."""
