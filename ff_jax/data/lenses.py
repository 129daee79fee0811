"""Camera lenses: their distortion, and the undistortion of images to pinhole images.

A lens is a vector of five numbers, k1, k2, p1, p2, k3 (OpenCV), or of twelve: these five, then

    k4          the next radial coefficient (of r^8)
    d1, d2, d3  the radial factor is divided by 1 + d1 r^2 + d2 r^4 + d3 r^6 (k4, k5, k6 of OpenCV's rational model)
    s1, s2      thin prism: s1 r^2 and s2 r^2 are added to x and y
    fisheye     1: distances from the axis are angles (equidistant projection), 0: tangents

so that all polynomial models of COLMAP and Nerfstudio are special cases of one formula.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from ff_jax.render.lenses.formulas import distort_opencv

NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "d1", "d2", "d3", "s1", "s2", "fisheye")
SIZES = (5, len(NAMES))  # of a vector
_CAMERAS = 12  # whose fields are kept: those of a rig; a field takes 9 bytes a pixel

# The parameters of COLMAP's models, in COLMAP's order, by what they are here; "f" is both focal lengths.
MODELS: Mapping[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d1", "d2", "d3"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "THIN_PRISM_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "s1", "s2"),
}

Array = np.ndarray


class Lens(NamedTuple):
    """The intrinsics of a camera: K in pixels, centers at .5, and the distortion, None for a pinhole."""

    K: Float[Array, "3 3"]
    distortion: Float[Array, "n"] | None = None


def lens(model: str, parameters: Sequence[float]) -> Lens:
    """Build the lens of a camera model.

    Args:
        model: one of MODELS.
        parameters: in COLMAP's order.

    Raises:
        ValueError: the model cannot be undistorted here, or takes another number of parameters.
    """
    names = MODELS.get(model)
    if names is None:
        raise ValueError(
            f"camera model {model} is none of {', '.join(MODELS)}; make pinhole images of it "
            "(colmap image_undistorter) and read these"
        )
    if len(parameters) != len(names):
        raise ValueError(f"{model} takes {len(names)} parameters ({', '.join(names)}), found {len(parameters)}")
    values = {"fisheye": float("FISHEYE" in model)} | dict(zip(names, map(float, parameters), strict=True))
    focal = [values.get(key, values.get("f")) for key in ("fx", "fy")]
    K = np.array([[focal[0], 0, values["cx"]], [0, focal[1], values["cy"]], [0, 0, 1]], float)
    return Lens(K, distortion_of(values))


def distortion_of(values: Mapping[str, float]) -> Float[Array, "n"] | None:
    """Build the vector of a lens from its coefficients by NAME; None if all of them are 0."""
    vector = np.array([values.get(name, 0.0) for name in NAMES], float)
    if not vector.any():
        return None
    return vector if vector[SIZES[0] :].any() else vector[: SIZES[0]]


def distort(rays: Float[Array, "*n 2"], distortion: Float[Array, "n"]) -> Float[Array, "*n 2"]:
    """Apply a lens to normalized image coordinates (x/z, y/z)."""
    k1, k2, p1, p2, k3, k4, d1, d2, d3, s1, s2, fisheye = _all(distortion)
    if fisheye:
        radius = np.linalg.norm(rays, axis=-1, keepdims=True)
        rays = rays * np.divide(np.arctan(radius), radius, out=np.ones_like(radius), where=radius > 0)
    denominator = (d1, d2, d3) if d1 or d2 or d3 else ()
    radial = (k1, k2, k3, k4), denominator
    return np.stack(distort_opencv(rays[..., 0], rays[..., 1], radial, (p1, p2), ((s1,), (s2,))), -1)


def undistort(
    image: Float32[Array, "H W C"], K: Float[Array, "3 3"], distortion: Float[Array, "n"]
) -> tuple[Float32[Array, "H W C"], Bool[Array, "H W"]]:
    """Resample a distorted image to the pinhole image of the same K, bilinearly.

    Returns:
        The image, and a mask of the pixels that the distorted image covers; the others repeat the nearest edge color.
    """
    height, width = image.shape[:2]
    index, inside = _field(np.asarray(K, float).tobytes(), np.asarray(distortion, float).tobytes(), width, height)
    channels = [
        ndimage.map_coordinates(image[..., c], index, order=1, mode="nearest", prefilter=False)
        for c in range(image.shape[-1])
    ]
    return np.stack(channels, -1), inside


@lru_cache(_CAMERAS)
def _field(K: bytes, distortion: bytes, width: int, height: int) -> tuple[Float32[Array, "2 H W"], Bool[Array, "H W"]]:
    """Compute where each pixel of the pinhole image is in the distorted one, as array indices, and whether it is."""
    (fx, _, cx), (_, fy, cy), _ = np.frombuffer(K).reshape(3, 3)
    vector = np.frombuffer(distortion)
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(u - cx) / fx, (v - cy) / fy], -1)
    x, y = np.moveaxis(distort(rays, vector), -1, 0)
    u, v = fx * x + cx, fy * y + cy
    inside = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
    radius = np.linalg.norm(rays, axis=-1)
    # Array index 0 is the pixel center at .5.
    return np.stack([v - 0.5, u - 0.5]).astype(np.float32), inside & (radius < _largest_radius(vector, radius.max()))


def _largest_radius(distortion: Float[Array, "n"], largest: float) -> float:
    """Find the distance from the axis at which a polynomial folds back: no ray of the image is beyond."""
    radial = _all(distortion) * np.array([name[0] in "kdf" for name in NAMES])
    radii = np.linspace(0, largest, 1000)
    distorted = distort(np.stack([radii, np.zeros_like(radii)], -1), radial)[:, 0]
    folds = np.flatnonzero(np.diff(distorted) <= 0)
    return float(radii[folds[0]]) if len(folds) else np.inf


def _all(distortion: Float[Array, "n"]) -> Float[Array, "12"]:
    return np.pad(np.asarray(distortion, float), (0, SIZES[1] - len(distortion)))
