"""The main job: reconstruct, then fuse repaired views in, then evaluate."""
