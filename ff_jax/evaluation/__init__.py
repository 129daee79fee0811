"""The extrapolation benchmark: how good a scene looks beside its recorded path (docs/benchmark_protocol.md)."""
