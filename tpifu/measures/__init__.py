"""Prediction and truth to numbers; pure functions."""
