"""Name the runs that a server offers."""

from collections.abc import Sequence
from pathlib import Path

from ff_jax.pipeline.fuse import read_config


def split_run(text: str) -> tuple[str, Path]:
    """Split FOLDER or ID=FOLDER into the id and the folder of a run."""
    scene_id, mark, folder = text.partition("=")
    if not mark or Path(text).is_dir():
        return Path(text).resolve().name, Path(text)
    return scene_id, Path(folder)


def runs_by_id(texts: Sequence[str]) -> dict[str, Path]:
    """Collect the folders of runs by scene_id.

    Raises:
        ValueError: two have one id, or a folder holds no run.
    """
    runs = {}
    for scene_id, folder in map(split_run, texts):
        if not scene_id or scene_id in runs:
            raise ValueError(f"invalid --run={folder}: scene_id {scene_id!r} is empty or taken; use --run=ID={folder}.")
        read_config(folder)
        runs[scene_id] = folder
    return runs
