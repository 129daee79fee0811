"""The quantities of Gaussians in the streams of SPZ files.

positions   3 x 24 bits of fixed point, with as many fractional bits as the header says
alphas      a byte: opacity x 255
colors      3 bytes: constant coefficient x 0.15 x 255 + 127.5
scales      3 bytes: (log of the standard deviation + 10) x 16
rotations   version 3 and 4: the number of the largest component (xyzw) in 2 bits, and the others in 10 bits, sign and
            magnitude of 1/sqrt 2; version 2: x, y, z as bytes x 127.5 + 127.5, with w from the length
sh          a byte per coefficient above the constant, x 128 + 128, written in steps of 8 (first band) or 16; colors
            are the inner axis
"""

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from scipy.special import expit

from ff_jax.export.formats.splats import logits, to_bytes, unit_quats
from ff_jax.render.gaussians import GaussianArrays

FRACTIONAL_BITS, MAX_FIXED = 12, (1 << 23) - 1
COLOR_SCALE, SH_STEPS = 0.15, (8, 16)

Array = np.ndarray


def fractional_bits(means: Float[Array, "N 3"]) -> int:
    """Choose the number of fractional bits: 12, or fewer where positions would not fit in 24 bits."""
    largest = float(np.abs(means).max(initial=0))
    bits = FRACTIONAL_BITS if largest == 0 else min(int(np.floor(np.log2(MAX_FIXED / largest))), FRACTIONAL_BITS)
    if bits < 1:
        raise ValueError(
            f"a Gaussian is {largest:.3g} meters from the origin: expected at most {MAX_FIXED // 2} in SPZ."
        )
    return bits


def encode(gaussians: GaussianArrays, bits: int) -> list[UInt8[Array, "..."]]:
    """Make the streams of Gaussians in the axes of the format."""
    fixed = np.rint(gaussians.means.astype(np.float64) * 2**bits).astype("<i4")
    rest = 128 + np.rint(128 * gaussians.sh[:, 1:].astype(np.float64))
    steps = np.where(np.arange(rest.shape[1]) < 3, *SH_STEPS)[:, None]
    return [
        fixed.view(np.uint8).reshape(-1, 3, 4)[..., :3],
        to_bytes(255 * expit(gaussians.logit_opacities)),
        to_bytes(COLOR_SCALE * 255 * gaussians.sh[:, 0] + 127.5),
        to_bytes((gaussians.log_scales + 10) * 16),
        _pack_quats(gaussians.quats).view(np.uint8),
        to_bytes((rest + steps // 2) // steps * steps),
    ]


def _pack_quats(quats: Float[Array, "N 4"]) -> Shaped[Array, "N"]:
    """Pack quaternions (wxyz) into words: the number of the largest component (xyzw), then the others."""
    xyzw = np.roll(unit_quats(quats), -1, 1)
    largest, rows = np.abs(xyzw).argmax(1), np.arange(len(xyzw))
    xyzw = xyzw * np.where(xyzw[rows, largest] < 0, -1, 1)[:, None]
    words = largest.astype(np.uint32)
    for column in range(3):
        value = xyzw[rows, column + (column >= largest)]
        magnitude = np.rint(511 * np.minimum(np.abs(value) * np.sqrt(2), 1)).astype(np.uint32)
        words = words << 10 | (value < 0).astype(np.uint32) << 9 | magnitude
    return words.astype("<u4")


def _unpack_quats(words: Shaped[Array, "N"]) -> Float[Array, "N 4"]:
    """Undo `_pack_quats`."""
    largest, rows, xyzw = (words >> 30).astype(int), np.arange(len(words)), np.zeros((len(words), 4))
    for column, shift in enumerate((20, 10, 0)):
        field = words >> shift
        value = (field & 511) / 511 * np.sqrt(0.5) * np.where(field >> 9 & 1, -1, 1)
        xyzw[rows, column + (column >= largest)] = value
    xyzw[rows, largest] = np.sqrt(np.maximum(1 - np.square(xyzw).sum(1), 0))
    return np.roll(xyzw, 1, 1)


def decode(parts: list[UInt8[Array, "N _"]], bits: int) -> GaussianArrays:
    """Decode the streams of positions with `bits` fractional bits, in the axes of the format."""
    positions, alphas, colors, scales, rotations, rest = parts
    if rotations.shape[1] == 3:
        xyz = rotations / 127.5 - 1
        quats = np.concatenate([np.sqrt(np.maximum(1 - np.square(xyz).sum(1, keepdims=True), 0)), xyz], 1)
    else:
        quats = _unpack_quats(np.ascontiguousarray(rotations).view("<u4")[:, 0])
    dc = (colors / 255 - 0.5)[:, None] / COLOR_SCALE
    return GaussianArrays(
        means=_signed(positions.reshape(-1, 3, 3)) / 2.0**bits,
        quats=quats,
        log_scales=scales / 16.0 - 10,
        logit_opacities=logits(alphas[:, 0] / 255),
        sh=np.concatenate([dc, rest.reshape(len(rest), rest.shape[1] // 3, 3) / 128.0 - 1], 1),
    )


def _signed(triples: UInt8[Array, "N 3 3"]) -> Int[Array, "N 3"]:
    """Join three bytes each, the lowest first, to a signed number."""
    words = np.concatenate([np.zeros_like(triples[..., :1]), triples], -1)
    return np.ascontiguousarray(words).view("<i4")[..., 0] >> 8
