"""Turns shards into windows of frames, and windows into training steps."""
