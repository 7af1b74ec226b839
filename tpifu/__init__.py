"""Temporal PIFu: pixel-aligned implicit functions on bodies in motion (Agarwal and Shevchuk
2020)."""
