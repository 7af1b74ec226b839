"""Shards to windows of frames to training steps."""
