"""Real splats for benchmarks: the PlayCanvas SOG format, version 2 (images as tables of Gaussians)."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

COEFFICIENTS = {1: 4, 2: 9, 3: 16}


def read_sog(folder: Path) -> dict[str, np.ndarray]:
    """Return the Gaussians of a SOG folder as the array arguments of `kernels.project.project`.

    Positions are 16 bits a coordinate in a symmetric logarithm, rotations the three smallest components of the
    quaternion and which one is missing, everything else an index into a codebook.

    Args:
        folder: holds meta.json and the images that it names.

    Returns:
        means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,) and sh (N, K, 3), float32, in
        the units of the file.
    """
    meta = json.loads((folder / "meta.json").read_text())

    def table(name: str) -> np.ndarray:
        return np.asarray(Image.open(folder / name).convert("RGBA")).reshape(-1, 4)[: meta["count"]]

    low, high = (table(name)[:, :3].astype(np.uint32) for name in meta["means"]["files"])
    least, most = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    logs = least + (high * 256 + low) / 65535 * (most - least)
    color = table(meta["sh0"]["files"][0])
    sh = np.array(meta["sh0"]["codebook"])[color[:, None, :3]]
    if "shN" in meta:
        sh = np.concatenate([sh, _high_bands(meta["shN"], folder, table)], 1)
    splats = {
        "means": np.sign(logs) * np.expm1(np.abs(logs)),
        "quats": _rotations(table(meta["quats"]["files"][0])),
        "scales": np.exp(np.array(meta["scales"]["codebook"])[table(meta["scales"]["files"][0])[:, :3]]),
        "opacities": color[:, 3] / 255,
        "sh": sh,
    }
    return {name: array.astype(np.float32) for name, array in splats.items()}


def _rotations(coded: np.ndarray) -> np.ndarray:
    """Return wxyz quaternions: three components in [-1, 1] / sqrt 2, the largest from the norm."""
    small, largest = (coded[:, :3] / 255 * 2 - 1) / np.sqrt(2), coded[:, 3].astype(int) - 252
    quats = np.empty((len(coded), 4))
    for k in range(4):
        rows = largest == k
        quats[np.ix_(rows, [i for i in range(4) if i != k])] = small[rows]
        quats[rows, k] = np.sqrt(np.maximum(0, 1 - np.sum(small[rows] ** 2, -1)))
    return quats


def _high_bands(meta: dict, folder: Path, table) -> np.ndarray:
    """Return the coefficients above the first: a label per Gaussian names a row of a palette of 64 columns."""
    labels = table(meta["files"][1]).astype(int)
    label, count = labels[:, 0] + 256 * labels[:, 1], COEFFICIENTS[meta["bands"]] - 1
    palette = np.asarray(Image.open(folder / meta["files"][0]).convert("RGB"))
    column = (label % 64 * count)[:, None] + np.arange(count)
    return np.array(meta["codebook"])[palette[(label // 64)[:, None], column]]


def facing(splats: dict[str, np.ndarray], width: int, height: int) -> dict[str, np.ndarray]:
    """Add a camera that sees all of the splats, a little from above (the y axis of these files points down)."""
    centre = np.percentile(splats["means"], [2, 98], axis=0).mean(0)
    radius = np.percentile(np.linalg.norm(splats["means"] - centre, axis=-1), 98)
    forward = np.array([0.3, 0.3, -1.0]) / np.linalg.norm([0.3, 0.3, -1.0])
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 0.9 * width
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (centre - forward * 1.6 * radius * focal / height)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return splats | {"camera_from_world": pose.astype(np.float32), "K": K.astype(np.float32)}
