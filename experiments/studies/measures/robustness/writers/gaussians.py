"""Write Gaussians in layouts that the project reads, but does not write: compressed PLY, SPZ of versions 2 and 3."""

import gzip
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ff_jax.render.gaussians import SH_C0, GaussianArrays, Gaussians


def random_gaussians(rng: np.random.Generator, count: int) -> Gaussians:
    """Draw Gaussians with spherical harmonics of the first degree."""
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, 4, 3))
    return Gaussians(*(jnp.asarray(rng.normal(0.0, 0.3, shape), jnp.float32) for shape in shapes))


def _pack(value: float, low: float, high: float, bits: int) -> int:
    return round((value - low) / max(high - low, 1e-30) * ((1 << bits) - 1))


def write_compressed(path: Path, gaussians: Gaussians, with_color_bounds: bool) -> None:
    """Write the layout of PlayCanvas, one Gaussian after the other."""
    means, scales = (np.asarray(part, float) for part in (gaussians.means, gaussians.log_scales))
    sh, count = np.asarray(gaussians.sh, float), len(means)
    rgb, alpha = sh[:, 0] * SH_C0 + 0.5, 1 / (1 + np.exp(-np.asarray(gaussians.logit_opacities, float)))
    chunks, vertices, rest = b"", b"", b""
    for start in range(0, count, 256):
        rows = slice(start, min(start + 256, count))
        bounds = [(part[rows].min(0), part[rows].max(0)) for part in (means, scales, rgb)]
        parts = bounds if with_color_bounds else bounds[:2]
        chunks += struct.pack(f"<{6 * len(parts)}f", *np.ravel(parts))
        for i in range(rows.start, rows.stop):
            words = []
            for part, (low, high) in zip((means, scales), bounds[:2], strict=True):
                x, y, z = (_pack(part[i, k], low[k], high[k], bits) for k, bits in enumerate((11, 10, 11)))
                words.append(x << 21 | y << 11 | z)
            quat = np.asarray(gaussians.quats, float)[i]
            quat = quat / np.linalg.norm(quat)
            largest = int(np.abs(quat).argmax())
            quat *= np.sign(quat[largest])
            a, b, c = (_pack(v, -np.sqrt(0.5), np.sqrt(0.5), 10) for v in np.delete(quat, largest))
            low, high = bounds[2] if with_color_bounds else (np.zeros(3), np.ones(3))
            r, g, b8 = (_pack(rgb[i, k], low[k], high[k], 8) for k in range(3))
            color = r << 24 | g << 16 | b8 << 8 | _pack(alpha[i], 0, 1, 8)
            vertices += struct.pack("<4I", words[0], largest << 30 | a << 20 | b << 10 | c, words[1], color)
            rest += bytes(round((v + 4) * 255 / 8) for v in sh[i, 1:].T.ravel())
    names = [f"{side}_{kind}{axis}" for kind in ("", "scale_") for side in ("min", "max") for axis in "xyz"]
    names += ["min_r", "min_g", "min_b", "max_r", "max_g", "max_b"] if with_color_bounds else []
    header = ["ply", "format binary_little_endian 1.0", "comment made by hand", f"element chunk {-(-count // 256)}"]
    header += [f"property float {name}" for name in names] + [f"element vertex {count}"]
    header += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    if sh.shape[1] > 1:
        header += [f"element sh {count}"] + [f"property uchar f_rest_{i}" for i in range(3 * (sh.shape[1] - 1))]
    path.write_bytes("\n".join([*header, "end_header\n"]).encode() + chunks + vertices + rest)


def write_gzip_spz(path: Path, gaussians: GaussianArrays, version: int) -> None:
    """Write SPZ of version 2 or 3, one Gaussian after the other; axes are those of PLY files."""
    count, coefficients = len(gaussians.means), gaussians.sh.shape[1]
    head = struct.pack("<IIIBBBB", 0x5053474E, version, count, round(coefficients**0.5) - 1, 12, 0, 0)
    streams = [b""] * 6
    # Functions that are odd in y or z of the turned axes: first band y, z, x; second xy, yz, zz, xz, xx-yy; and so on.
    signs = [1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1]
    for mean, quat, scale, logit, sh in zip(*gaussians, strict=True):
        for value in mean * (1, -1, -1):
            streams[0] += round(value * 4096).to_bytes(3, "little", signed=True)
        streams[1] += bytes([round(255 / (1 + np.exp(-logit)))])
        streams[2] += bytes(min(max(round(float(v) * 0.15 * 255 + 127.5), 0), 255) for v in sh[0])
        streams[3] += bytes(min(max(round((float(v) + 10) * 16), 0), 255) for v in scale)
        w, x, y, z = quat / np.linalg.norm(quat) * (1, 1, -1, -1)
        streams[4] += _spz_quaternion([x, y, z, w], version)
        for sign, rgb in zip(signs[1:], sh[1:], strict=False):
            streams[5] += bytes(min(max(round(128 + 128 * sign * float(v)), 0), 255) for v in rgb)
    path.write_bytes(gzip.compress(head + b"".join(streams)))


def _spz_quaternion(xyzw: list[float], version: int) -> bytes:
    if version == 2:
        sign = -1 if xyzw[3] < 0 else 1
        return bytes(round(127.5 + 127.5 * sign * v) for v in xyzw[:3])
    largest = max(range(4), key=lambda i: abs(xyzw[i]))
    word = largest
    for i in (i for i in range(4) if i != largest):
        is_negative = (xyzw[i] < 0) != (xyzw[largest] < 0)
        word = word << 10 | is_negative << 9 | round(511 * min(abs(xyzw[i]) * 2**0.5, 1))
    return struct.pack("<I", word)
