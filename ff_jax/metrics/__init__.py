"""Measures of images, usable without the rest of the pipeline."""
