"""Read the lens of a camera from a message: a pinhole, OpenCV's distortion, OpenCV's fisheye, or FTheta."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.render.lenses import Lens, fisheye_lens, ftheta_lens, opencv_lens
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.messages import message

MAX_FOCAL = 1e3  # focal lengths, in image sides; 1 / MAX_FOCAL is the smallest
MAX_DEGREE = 8  # of the polynomials of FTheta: all are padded to it, so that one program suffices

Array = np.ndarray


class Intrinsics(NamedTuple):
    """The lens of a camera, for a sensor of a size."""

    K: Float[Array, "3 3"]  # from the lens plane to pixels; pixel centers at .5
    width: int  # pixels
    height: int
    lens: Lens | None = None  # None: a pinhole

    def scaled(self, width: int, height: int) -> "Intrinsics":
        """Scale to an image of `width` x `height` pixels of the same field of view."""
        K = np.diag([width / self.width, height / self.height, 1.0]) @ self.K
        return Intrinsics(K, width, height, self.lens)


def intrinsics_of(spec: Any) -> Intrinsics | None:
    """Read the lens of a `CameraSpec` message; None if it has none.

    Raises:
        RequestError: a part is not supported, or a number is out of range.
    """
    kind = spec.WhichOneof("camera_param")
    if spec.WhichOneof("external_distortion"):
        raise RequestError("windshield distortion is not supported: leave external_distortion empty.", "UNIMPLEMENTED")
    if kind is None:
        return None
    width, height, param = spec.resolution_w, spec.resolution_h, getattr(spec, kind)
    if width < 1 or height < 1:
        raise RequestError(f"invalid camera_intrinsics: resolution {width} x {height}, expected that of the sensor.")
    try:
        with np.errstate(all="ignore"):  # a polynomial may overflow: what is not finite is refused
            lens, focal = _READERS[kind](param)
    except ValueError as error:
        raise RequestError(f"{kind}: {error}") from None
    return Intrinsics(
        _matrix(focal, (param.principal_point_x, param.principal_point_y), (width, height)), width, height, lens
    )


def _matrix(focal: tuple[float, float], center: tuple[float, float], size: tuple[int, int]) -> Float[Array, "3 3"]:
    """Check focal lengths and principal point (pixels), and make K."""
    for axis, side in enumerate(size):
        if not side / MAX_FOCAL <= focal[axis] <= side * MAX_FOCAL:  # true for NaN
            raise RequestError(f"invalid focal length {focal[axis]:g}: expected pixels, of a side of {side}.")
        if not abs(center[axis]) <= side * MAX_FOCAL:
            raise RequestError(f"invalid principal point {center[axis]:g}: expected pixels, of a side of {side}.")
    K = np.diag([*focal, 1.0])
    K[:2, 2] = center
    return K


def _pinhole(param: Any) -> tuple[Lens | None, tuple[float, float]]:
    """Read an `OpenCVPinholeCameraParam` message; without distortion it is a pinhole."""
    parts = param.radial_coeffs, param.tangential_coeffs, param.thin_prism_coeffs
    lens = opencv_lens(*map(list, parts)) if any(value != 0 for part in parts for value in part) else None
    return lens, (param.focal_length_x, param.focal_length_y)


def _fisheye(param: Any) -> tuple[Lens, tuple[float, float]]:
    """Read an `OpenCVFisheyeCameraParam` message."""
    return fisheye_lens(list(param.radial_coeffs), param.max_angle), (param.focal_length_x, param.focal_length_y)


def _ftheta(param: Any) -> tuple[Lens, tuple[float, float]]:
    """Read an `FthetaCameraParam` message; without a linear map it is the identity."""
    linear = (param.linear_cde.linear_c, param.linear_cde.linear_d, param.linear_cde.linear_e)
    lens, focal = ftheta_lens(
        _padded("pixeldist_to_angle_poly", param.pixeldist_to_angle_poly),
        _padded("angle_to_pixeldist_poly", param.angle_to_pixeldist_poly),
        param.max_angle,
        linear if param.HasField("linear_cde") else (1.0, 0.0, 0.0),
        has_angle_reference=param.reference_poly != message("FthetaCameraParam").ANGLE_TO_PIXELDIST,
    )
    return lens, (focal, focal)


def _padded(name: str, coefficients: Any) -> Float[Array, "n"]:
    """Append zeros to the coefficients of a polynomial, from degree 0."""
    count = len(coefficients)
    if not 2 <= count <= MAX_DEGREE + 1:
        raise ValueError(f"{name} has {count} coefficients: expected 2 to {MAX_DEGREE + 1}, from degree 0.")
    return np.pad(np.array(coefficients, np.float64), (0, MAX_DEGREE + 1 - count))


_READERS = {"opencv_pinhole_param": _pinhole, "opencv_fisheye_param": _fisheye, "ftheta_param": _ftheta}
