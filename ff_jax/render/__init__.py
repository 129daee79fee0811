"""Render Gaussians through a camera."""
