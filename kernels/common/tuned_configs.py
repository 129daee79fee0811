"""Block sizes as data: `kernels.tools.tune` measures them and writes `tuned/<device>.json`; kernels read them.

A file fixes the numerics: the length of segments decides the order of a few roundings.
"""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax

FOLDER = Path(__file__).parents[1] / "tuned"


def device_file(kind: str) -> Path:
    """Build the path of the file of a kind of device, as `jax.Device.device_kind` names it."""
    return FOLDER / f"{kind.replace(' ', '_')}.json"


def tuned_config(op: str, capacity: int, num_tiles: int) -> dict[str, Any]:
    """Look up the block sizes measured on the most similar tile lists; empty if this device has no file.

    Args:
        op: "rasterize" or "fisher".
        capacity: of the tile lists, intersections.
        num_tiles: of the image.
    """
    if jax.default_backend() != "gpu":
        return {}
    return nearest_config(_read(device_file(jax.devices()[0].device_kind)).get(op, []), capacity, num_tiles)


def nearest_config(entries: list[dict[str, Any]], capacity: int, num_tiles: int) -> dict[str, Any]:
    """Select the configuration of the entry with the nearest capacity and tile count, by ratio; empty without any."""

    def distance(entry: dict[str, Any]) -> float:
        return abs(math.log2(capacity / entry["capacity"])) + abs(math.log2(num_tiles / entry["tiles"]))

    return min(entries, key=distance)["config"] if entries else {}


@functools.lru_cache
def _read(path: Path) -> dict[str, Any]:
    """Read a file of block sizes; empty if there is none."""
    return json.loads(path.read_text()) if path.exists() else {}
