"""Pure functions that measure predictions against the truth."""
