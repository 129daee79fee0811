"""Read captured splats: the PlayCanvas SOG format, version 2 (images as tables of Gaussians)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

COEFFICIENTS = {1: 4, 2: 9, 3: 16}


def read_sog(folder: Path) -> dict[str, np.ndarray]:
    """Read the Gaussians of a SOG folder as the fields of `kernels.project.Gaussians3D`.

    A position has 16 bits per coordinate, in a symmetric logarithm. A rotation has the three smallest components of the
    quaternion and the index of the fourth. Everything else is an index into a codebook.

    Args:
        folder: with meta.json and the images that it names.

    Returns:
        means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,) and sh (N, K, 3): float32, in the units of the
        file.
    """
    meta = json.loads((folder / "meta.json").read_text())

    def read_table(name: str) -> UInt8[np.ndarray, "N 4"]:
        return np.asarray(Image.open(folder / name).convert("RGBA")).reshape(-1, 4)[: meta["count"]]

    low, high = (read_table(name)[:, :3].astype(np.uint32) for name in meta["means"]["files"])
    least, most = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    logs = least + (high * 256 + low) / 65535 * (most - least)
    color = read_table(meta["sh0"]["files"][0])
    sh = np.array(meta["sh0"]["codebook"])[color[:, None, :3]]
    if "shN" in meta:
        sh = np.concatenate([sh, _high_bands(meta["shN"], folder, read_table)], 1)
    splats = {
        "means": np.sign(logs) * np.expm1(np.abs(logs)),
        "quats": _rotations(read_table(meta["quats"]["files"][0])),
        "scales": np.exp(np.array(meta["scales"]["codebook"])[read_table(meta["scales"]["files"][0])[:, :3]]),
        "opacities": color[:, 3] / 255,
        "sh": sh,
    }
    return {name: array.astype(np.float32) for name, array in splats.items()}


def _rotations(coded: UInt8[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    """Decode wxyz quaternions: three components in [-1, 1] / sqrt 2; the largest one follows from the norm."""
    small, largest = (coded[:, :3] / 255 * 2 - 1) / np.sqrt(2), coded[:, 3].astype(int) - 252
    quats = np.empty((len(coded), 4))
    for k in range(4):
        rows = largest == k
        quats[np.ix_(rows, [i for i in range(4) if i != k])] = small[rows]
        quats[rows, k] = np.sqrt(np.maximum(0, 1 - np.sum(small[rows] ** 2, -1)))
    return quats


def _high_bands(
    meta: dict, folder: Path, read_table: Callable[[str], UInt8[np.ndarray, "N 4"]]
) -> Float[np.ndarray, "N k 3"]:
    """Decode the coefficients above the first: the label of a Gaussian is its place in a palette of 64 columns."""
    labels = read_table(meta["files"][1]).astype(int)
    label, count = labels[:, 0] + 256 * labels[:, 1], COEFFICIENTS[meta["bands"]] - 1
    palette = np.asarray(Image.open(folder / meta["files"][0]).convert("RGB"))
    column = (label % 64 * count)[:, None] + np.arange(count)
    return np.array(meta["codebook"])[palette[(label // 64)[:, None], column]]


def add_camera(splats: dict[str, np.ndarray], width: int, height: int) -> dict[str, np.ndarray]:
    """Add a camera that sees all of the splats, a little from above (the y axis of these files points down)."""
    center = np.percentile(splats["means"], [2, 98], axis=0).mean(0)
    radius = np.percentile(np.linalg.norm(splats["means"] - center, axis=-1), 98)
    forward = np.array([0.3, 0.3, -1.0]) / np.linalg.norm([0.3, 0.3, -1.0])
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 0.9 * width
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (center - forward * 1.6 * radius * focal / height)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return splats | {"camera_from_world": pose.astype(np.float32), "K": K.astype(np.float32)}
