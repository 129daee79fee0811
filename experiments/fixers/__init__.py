"""Training of the fixers whose weights are part of the package."""
