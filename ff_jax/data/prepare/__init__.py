"""Prepare logs for reconstruction: sky masks, ego-vehicle masks, smooth tracks, structure from motion."""
