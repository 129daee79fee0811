"""Settings as short Python functions; each docstring holds its command."""
