"""Build lenses from the numbers of a calibration, and check them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ff_jax.render.lenses.angular import FisheyeLens, FThetaLens
from ff_jax.render.lenses.opencv import LARGEST_TANGENT, OpenCVLens

Numbers = Sequence[float | int] | np.ndarray


def opencv_lens(radial: Numbers = (), tangential: Numbers = (), thin_prism: Numbers = ()) -> OpenCVLens:
    """Build a lens from OpenCV's coefficients k1 to k6, p1, p2, and s1 to s4; missing ones are 0.

    Raises:
        ValueError: there are more coefficients, or one is not finite.
    """
    return OpenCVLens(
        _coefficients("radial", radial, 6),
        _coefficients("tangential", tangential, 2),
        _coefficients("thin_prism", thin_prism, 4),
        jnp.float32(LARGEST_TANGENT),
    )


def fisheye_lens(radial: Numbers = (), max_angle: float | int = np.pi / 2) -> FisheyeLens:
    """Build a lens from OpenCV's fisheye coefficients k1 to k4, and its largest angle from the axis, radians.

    Raises:
        ValueError: there are more coefficients, one is not finite, or the angle is not in (0, pi].
    """
    return FisheyeLens(_coefficients("radial", radial, 4), _largest(max_angle))


def ftheta_lens(
    pixels_to_angle: Numbers,
    angle_to_pixels: Numbers,
    max_angle: float | int,
    linear: Numbers = (1.0, 0.0, 0.0),
    has_angle_reference: bool = True,
) -> tuple[FThetaLens, float]:
    """Build a lens from polynomials in pixels; return it and its focal length (pixels), the scale of K.

    Args:
        pixels_to_angle: coefficients, constant first, of the angle (radians) by the distance (pixels).
        angle_to_pixels: of the distance by the angle.
        max_angle: largest angle from the axis, radians.
        linear: c, d, e.
        has_angle_reference: whether `pixels_to_angle` is the reference, and the other one approximates its inverse.

    Raises:
        ValueError: a polynomial has a constant or does not increase, both are not inverse to each other, the linear
            map cannot be inverted, or the angle is not in (0, pi].
    """
    to_angle, to_pixels = (np.asarray(values, np.float64) for values in (pixels_to_angle, angle_to_pixels))
    largest = _largest(max_angle)
    reference = to_angle if has_angle_reference else to_pixels
    name = "pixels_to_angle" if has_angle_reference else "angle_to_pixels"
    if min(len(to_angle), len(to_pixels)) < 2 or abs(reference[0]) > 1e-6 or not reference[1] > 0:
        raise ValueError(f"invalid {name}={reference}: expected a constant of 0 and a positive linear coefficient.")
    focal = float(1 / reference[1] if has_angle_reference else reference[1])
    angles = np.linspace(0, max_angle, 200)
    distances = np.polynomial.polynomial.polyval(angles, to_pixels)
    again = np.polynomial.polynomial.polyval(distances, to_angle)
    error = float(np.abs(again - angles).max())
    if not (error < 0.05 and (np.diff(distances) > 0).all() and (np.diff(again) > 0).all()):
        raise ValueError(
            f"invalid polynomials of an FTheta lens: expected increasing inverses of each other up to {max_angle=}, "
            f"found a difference of {error:.3g} radians."
        )
    c, d, e = map(float, linear)
    if not abs(c - d * e) > 1e-6:
        raise ValueError(f"invalid {linear=}: expected c, d, e with c - d e other than 0.")
    lens = FThetaLens(
        to_radius=jnp.asarray(to_pixels / focal, jnp.float32),
        to_angle=jnp.asarray(to_angle * focal ** np.arange(len(to_angle)), jnp.float32),
        max_angle=largest,
        linear=jnp.array([c, d, e], jnp.float32),
        has_angle_reference=has_angle_reference,
    )
    return lens, focal


def _coefficients(name: str, values: Numbers, count: int) -> Float[Array, "count"]:
    """Append zeros to coefficients."""
    array = np.asarray(values, np.float32).reshape(-1)
    if len(array) > count or not np.isfinite(array).all():
        raise ValueError(f"invalid {name}={list(values)}: expected at most {count} finite numbers.")
    return jnp.asarray(np.pad(array, (0, count - len(array))))


def _largest(max_angle: float | int) -> Float[Array, ""]:
    """Check the largest angle of a lens."""
    if not 0 < max_angle <= np.pi + 1e-6:
        raise ValueError(f"invalid {max_angle=}: expected radians from the optical axis, above 0 and at most pi.")
    return jnp.float32(max_angle)
