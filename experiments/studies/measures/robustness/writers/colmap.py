"""Write a small COLMAP model, in the text and the binary form of its documentation."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from ff_jax.data.formats.colmap_model import MODELS

CAMERAS = {3: ("OPENCV", [20.0, 21, 12, 8, 0.1, 0.02, 0.001, -0.002]), 7: ("SIMPLE_RADIAL", [19.0, 11.5, 8.5, -0.03])}
NAMES = ("front/b.png", "front/a.png", "left/a.png")


class Model:
    """A random reconstruction of two cameras, and its files as COLMAP's documentation describes them."""

    def __init__(self, rng: np.random.Generator):
        """Draw poses and points."""
        self.quaternions = Rotation.random(3, rng).as_quat()[:, [3, 0, 1, 2]]
        self.translations = rng.normal(size=(3, 3))
        self.xyz, self.rgb = rng.normal(size=(5, 3)), rng.integers(0, 256, (5, 3))
        self.cameras = (3, 3, 7)

    def text(self, folder: Path) -> None:
        """Write the text files."""
        write(folder / "cameras.txt", [f"{n} {m} 24 16 {numbers(p)}" for n, (m, p) in CAMERAS.items()])
        images = []
        for i, name in enumerate(NAMES):
            pose = f"{numbers(self.quaternions[i])} {numbers(self.translations[i])}"
            images += [f"{9 - i} {pose} {self.cameras[i]} {name}", "1.5 2.5 -1 3.5 4.5 0" if i else ""]
        write(folder / "images.txt", images)
        rows = zip(self.xyz, self.rgb, strict=True)
        write(folder / "points3D.txt", [f"{i} {numbers(x)} {numbers(c)} 0.5 1 0 2 1" for i, (x, c) in enumerate(rows)])

    def binary(self, folder: Path) -> None:
        """Write the binary files."""
        cameras = [
            struct.pack("<iiQQ", n, list(MODELS.values()).index(m), 24, 16) + doubles(p)
            for n, (m, p) in CAMERAS.items()
        ]
        images = []
        for i, name in enumerate(NAMES):
            head = struct.pack("<I", 9 - i) + doubles(self.quaternions[i]) + doubles(self.translations[i])
            pixels = struct.pack("<Q", i) + struct.pack("<ddq", 1.5, 2.5, -1) * i
            images.append(head + struct.pack("<I", self.cameras[i]) + name.encode() + b"\0" + pixels)
        points = [
            struct.pack("<Q", i) + doubles(x) + bytes(c.tolist()) + doubles([0.5]) + struct.pack("<QII", 1, 0, 2)
            for i, (x, c) in enumerate(zip(self.xyz, self.rgb, strict=True))
        ]
        for stem, records in {"cameras": cameras, "images": images, "points3D": points}.items():
            (folder / f"{stem}.bin").write_bytes(struct.pack("<Q", len(records)) + b"".join(records))


def write(path: Path, lines: Sequence[str]) -> None:
    """Write lines below a comment."""
    path.write_text("\n".join(["# a comment", *lines, ""]))


def numbers(values: Any) -> str:
    """Print numbers with all their digits."""
    return " ".join(map(repr, np.asarray(values).tolist()))


def doubles(values: Any) -> bytes:
    """Encode numbers as float64."""
    return struct.pack(f"<{len(values)}d", *values)
