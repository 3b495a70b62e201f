"""Stain normalisation: bring the colours of H&E images to those of a target."""
