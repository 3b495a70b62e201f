"""Whole slides: opened, read by region at any µm/px, and seen small."""
