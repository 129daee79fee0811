"""Generators: what repairs rendered frames, behind one protocol."""
