"""Entry points: short absl mains over the library."""
