"""Measures, figures and tables of the studies."""
