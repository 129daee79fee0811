"""The quantities of Gaussians in the tables (N, 4) of bytes of SOG files; `sog` describes them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from scipy.special import expit

from ff_jax.export.formats.codebooks import codebook, nearest, palette
from ff_jax.export.formats.splats import logits, to_bytes, unit_quats
from ff_jax.render.gaussians import GaussianArrays

COLUMNS = 64  # entries of the palette in a row of its image
MAX_PALETTE = 1 << 16
MAX_16_BIT = 65_535
FIRST_TAG = 252  # of quaternions: with the number 0 of the largest component
FILES = {
    "means": ("means_l.webp", "means_u.webp"),
    "scales": ("scales.webp",),
    "quats": ("quats.webp",),
    "sh0": ("sh0.webp",),
    "shN": ("shN_centroids.webp", "shN_labels.webp"),
}

Array = np.ndarray
Tables = dict[str, UInt8[Array, "..."]]


def encode(gaussians: GaussianArrays) -> tuple[dict[str, Any], Tables]:
    """Make meta.json and the tables by the names of their files; that of the palette is an image already."""
    meta: dict[str, Any] = {name: {"files": list(files)} for name, files in FILES.items()}
    logs = np.sign(gaussians.means) * np.log1p(np.abs(gaussians.means.astype(np.float64)))
    least, most = (logs.min(0), logs.max(0)) if len(logs) else np.zeros((2, 3))
    steps = np.rint((logs - least) / np.maximum(most - least, 1e-12) * MAX_16_BIT).astype(int)
    scales, colors = codebook(gaussians.log_scales), codebook(gaussians.sh[:, 0])
    meta["means"] |= {"mins": least.tolist(), "maxs": most.tolist()}
    meta["scales"]["codebook"], meta["sh0"]["codebook"] = scales.tolist(), colors.tolist()
    opacity = to_bytes(255 * expit(gaussians.logit_opacities))
    tables = {
        "means_l.webp": _table(steps & 255),
        "means_u.webp": _table(steps >> 8),
        "scales.webp": _table(nearest(gaussians.log_scales, scales)),
        "quats.webp": encode_quats(gaussians.quats),
        "sh0.webp": _table(nearest(gaussians.sh[:, 0], colors), opacity),
    }
    if gaussians.sh.shape[1] == 1:
        del meta["shN"]
        return meta, tables
    return meta, tables | _encode_high_bands(gaussians.sh[:, 1:], meta["shN"])


def _table(columns: Shaped[Array, "N C"], alpha: Shaped[Array, "N"] | int = 255) -> UInt8[Array, "N 4"]:
    """Fill a table: columns that are left are 0, the last one is `alpha`."""
    table = np.zeros((len(columns), 4), np.uint8)
    table[:, : columns.shape[1]], table[:, 3] = columns, alpha
    return table


def _encode_high_bands(rest: Float[Array, "N K 3"], meta: dict[str, Any]) -> Tables:
    """Make palette and labels of the coefficients above the constant; complete their part of meta.json."""
    count, coefficients, _ = rest.shape
    size = min(1 << max(count, 1).bit_length() - 1, MAX_PALETTE)
    entries, labels = palette(rest.reshape(count, coefficients * 3), size)
    book, rows = codebook(entries), -(-max(len(entries), 1) // COLUMNS)
    meta |= {"count": len(entries), "bands": round((coefficients + 1) ** 0.5) - 1, "codebook": book.tolist()}
    image = np.zeros((rows * COLUMNS, coefficients, 3), np.uint8)
    image[: len(entries)] = nearest(entries, book).reshape(len(entries), coefficients, 3)
    image = image.reshape(rows, COLUMNS * coefficients, 3)
    return dict(zip(FILES["shN"], (image, _table(np.stack([labels & 255, labels >> 8], 1))), strict=True))


def encode_quats(quats: Float[Array, "N 4"]) -> UInt8[Array, "N 4"]:
    """Encode quaternions (wxyz): the three smaller components, and the number of the largest one."""
    quats, rows = unit_quats(quats), np.arange(len(quats))
    largest = np.abs(quats).argmax(1)
    quats = quats * np.where(quats[rows, largest] < 0, -1, 1)[:, None]
    others = np.stack([quats[rows, i + (i >= largest)] for i in range(3)], 1)
    return _table(to_bytes((others * np.sqrt(2) + 1) * 127.5), largest + FIRST_TAG)


def decode_quats(table: UInt8[Array, "N 4"]) -> Float[Array, "N 4"]:
    """Decode quaternions (wxyz); those with an unknown number are 0."""
    others, largest = (table[:, :3] / 127.5 - 1) / np.sqrt(2), table[:, 3].astype(int) - FIRST_TAG
    rows, known = np.arange(len(table)), largest >= 0
    largest = np.maximum(largest, 0)
    quats = np.zeros((len(table), 4))
    for i in range(3):
        quats[rows, i + (i >= largest)] = others[:, i]
    quats[rows, largest] = np.sqrt(np.maximum(1 - np.square(others).sum(1), 0))
    return quats * known[:, None]


def decode(meta: Mapping[str, Any], tables: Mapping[str, UInt8[Array, "N 4"]], image: Array | None) -> GaussianArrays:
    """Decode the tables of Gaussians.

    Args:
        meta: content of meta.json.
        tables: by their names in `FILES`, whatever those of the files are.
        image: of the palette; None without coefficients above the constant.

    Raises:
        ValueError, KeyError, TypeError: a value is missing or beyond its range.
    """
    low, high = (tables[name][:, :3].astype(int) for name in FILES["means"])
    least, most = (np.array(meta["means"][name], float).reshape(3) for name in ("mins", "maxs"))
    logs = least + (high * 256 + low) / MAX_16_BIT * (most - least)
    color = tables["sh0.webp"]
    sh = _book(meta["sh0"])[color[:, None, :3]]
    if image is not None:
        sh = np.concatenate([sh, _decode_high_bands(meta["shN"], tables["shN_labels.webp"], image)], 1)
    with np.errstate(over="ignore"):
        return GaussianArrays(
            means=np.sign(logs) * np.expm1(np.abs(logs)),
            quats=decode_quats(tables["quats.webp"]),
            log_scales=_book(meta["scales"])[tables["scales.webp"][:, :3]],
            logit_opacities=logits(color[:, 3] / 255),
            sh=sh,
        )


def _decode_high_bands(meta: Mapping[str, Any], table: UInt8[Array, "N 4"], image: Array) -> Float[Array, "N K 3"]:
    """Decode the coefficients above the constant."""
    labels, coefficients = table[:, 0] + 256 * table[:, 1].astype(int), (meta["bands"] + 1) ** 2 - 1
    entries = image.reshape(len(image) * COLUMNS, coefficients, 3)
    largest = labels.max(initial=-1)
    if largest >= min(len(entries), meta["count"]):
        raise ValueError(f"the palette has {meta['count']} entries, and no number {largest}")
    return _book(meta)[entries[labels]]


def _book(meta: Mapping[str, Any]) -> Float[Array, "256"]:
    return np.array(meta["codebook"], float).reshape(256)


def morton_order(means: Float[Array, "N 3"]) -> Int[Array, "N"]:
    """Sort positions along a curve that keeps neighbors together: the bits of 10-bit coordinates alternate."""
    least = means.min(0, initial=np.inf)
    span = np.maximum(means.max(0, initial=-np.inf) - least, 1e-12)
    cells = np.clip((means - least) / span * 1024, 0, 1023).astype(np.int64)
    code = np.zeros(len(means), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << 3 * bit + axis
    return np.argsort(code, kind="stable")
