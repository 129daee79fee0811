"""Training of the fixers that ship."""
