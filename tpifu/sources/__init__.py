"""Where motion comes from: synthetic, cmu, surreal; each writes clips."""
