"""The HTTP client: credentials stay with their host, files appear whole."""
