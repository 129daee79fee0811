"""Block sizes as data: `kernels.tools.tune` measures them and writes `tuned/<device>.json`; kernels read them.

A file fixes the numerics: where lists are cut into segments decides the order of a few roundings.
"""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax

FOLDER = Path(__file__).parents[1] / "tuned"


def device_file(kind: str) -> Path:
    """Return the file for a kind of device, as `jax.Device.device_kind` names it."""
    return FOLDER / f"{kind.replace(' ', '_')}.json"


def tuned(op: str, capacity: int, tiles: int) -> dict[str, Any]:
    """Return the block sizes of `op` that were best for lists most like these; empty without a file for this device.

    Args:
        op: "rasterize" or "fisher".
        capacity: intersections there is room for.
        tiles: of the image.
    """
    if jax.default_backend() != "gpu":
        return {}
    return nearest(_read(device_file(jax.devices()[0].device_kind)).get(op, []), capacity, tiles)


def nearest(entries: list[dict[str, Any]], capacity: int, tiles: int) -> dict[str, Any]:
    """Return the configuration of the entry whose numbers differ by the smallest factors; empty without entries."""

    def distance(entry: dict[str, Any]) -> float:
        return sum(abs(math.log2(mine / entry[key])) for key, mine in (("capacity", capacity), ("tiles", tiles)))

    return min(entries, key=distance)["config"] if entries else {}


@functools.lru_cache
def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing if there is none."""
    return json.loads(path.read_text()) if path.exists() else {}
