"""Density control: where Gaussians are added, moved and removed."""
