"""Driving logs: the scene contract, its folder form, adapters, loading and first points."""
