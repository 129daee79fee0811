"""Readers of public driving data sets in their own file formats; each has `load(path, ...) -> SceneData`."""
