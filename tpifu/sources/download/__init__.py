"""The HTTP client: credentials stay with their host, files are written atomically."""
