"""Pathologists' mitosis annotations to trained detectors and trusted counts."""

__version__ = "0.1.0"
