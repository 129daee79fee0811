"""What the entry points share: flags, overrides of settings, error handling."""
