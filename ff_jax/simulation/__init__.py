"""Serve scenes to a simulator of driving."""
