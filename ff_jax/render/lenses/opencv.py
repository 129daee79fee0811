"""OpenCV's distortion of tangents: rational radial, tangential and thin prism (docs.opencv.org, module calib3d)."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax
from jaxtyping import Float

from ff_jax.render.lenses.formulas import distort_opencv, first_fold, invert_increasing
from ff_jax.render.lenses.polar import LensPoints, LensRays, direction_at, length, polar

LARGEST_TANGENT = 5.67  # of the angle (80 degrees) where the domain ends at the latest
# The domain ends at this times the angle of the image's corner: polynomials are fitted to images, often wild beyond.
MARGIN = 1.05
_NEWTON_STEPS = 4  # against tangential distortion and thin prism, after the radial part is inverted
_RESIDUAL = 1e-4  # of the lens plane, up to which a direction is the inverse


class OpenCVLens(struct.PyTreeNode):
    """OpenCV's distortion; its depth is the camera z."""

    radial: Float[Array, "6"]  # k1 to k6; k4 to k6 are in the denominator
    tangential: Float[Array, "2"]  # p1, p2
    thin_prism: Float[Array, "4"]  # s1, s2 of x, s3, s4 of y
    largest_tangent: Float[Array, ""]  # end of the domain, or before it where the polynomial folds

    @property
    def has_angular_depth(self) -> bool:
        """Say whether depth is the distance from the camera (True) or the camera z."""
        return False

    def within(self, reach: Float[Array, ""]) -> "OpenCVLens":
        """Limit the domain to a little more than an image whose corners have the distance `reach` in the lens plane."""
        largest = jnp.full_like(self.largest_tangent, LARGEST_TANGENT)
        corner = invert_increasing(OpenCVLens._radial_distance, self, reach, first_fold(self._radial_distance, largest))
        limit = jnp.tan(jnp.minimum(MARGIN * jnp.arctan(corner), jnp.arctan(largest)))
        return self.replace(largest_tangent=limit)

    def distort(self, xy: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
        """Distort tangents (x / z, y / z)."""
        k, s = self.radial, self.thin_prism
        prism = (s[0], s[1]), (s[2], s[3])
        x, y = xy[..., 0], xy[..., 1]
        return jnp.stack(distort_opencv(x, y, (tuple(k[:3]), tuple(k[3:])), tuple(self.tangential), prism), -1)

    def to_plane(self, points: Float[Array, "*n 3"]) -> LensPoints:
        """Map points in the camera frame, meters, to the lens plane."""
        limit = self._largest_tangent()
        rho, angle = polar(points)
        is_inside = angle <= jnp.arctan(limit)
        per_z = jnp.where(is_inside, 1.0 / jnp.where(is_inside, points[..., 2], 1.0), limit / rho)
        beyond = jnp.where(is_inside, 1.0, angle / jnp.arctan(limit))
        return LensPoints(self.distort(points[..., :2] * per_z[..., None]) * beyond[..., None], is_inside)

    def to_rays(self, xy: Float[Array, "*n 2"]) -> LensRays:
        """Map points of the lens plane to unit directions in the camera frame."""
        limit = self._largest_tangent()
        radius = length(xy)
        outward = xy / radius[..., None]
        beyond = radius / length(self.distort(outward * limit))
        tangent = invert_increasing(OpenCVLens._radial_distance, self, radius, limit)
        tangents, residual = self._undistort(xy, outward * tangent[..., None], limit)
        is_inside = (length(tangents) < limit) & (residual < _RESIDUAL)
        inside = jnp.concatenate([tangents, jnp.ones_like(tangents[..., :1])], -1)
        inside = inside / jnp.sqrt(jnp.sum(inside**2, -1, keepdims=True))
        outside = direction_at(outward, jnp.minimum(jnp.arctan(limit) * jnp.maximum(beyond, 1.0), jnp.pi))
        return LensRays(jnp.where(is_inside[..., None], inside, outside), is_inside)

    def _radial_distance(self, tangent: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Distort the distance from the axis without the tangential part and the thin prism."""
        zero = jnp.zeros_like(tangent)
        radial = tuple(self.radial[:3]), tuple(self.radial[3:])
        return distort_opencv(tangent, zero, radial, (0.0, 0.0), ((0.0,), (0.0,)))[0]

    def _largest_tangent(self) -> Float[Array, ""]:
        return first_fold(self._radial_distance, self.largest_tangent)

    def _undistort(
        self, xy: Float[Array, "*n 2"], start: Float[Array, "*n 2"], limit: Float[Array, ""]
    ) -> tuple[Float[Array, "*n 2"], Float[Array, "*n"]]:
        """Invert `distort` by Newton's method; return the tangents and how far their image is from `xy`."""

        tangents, constant, fixed = lax.stop_gradient((start, xy, self))
        tangents = lax.fori_loop(0, _NEWTON_STEPS, lambda _, x: fixed._newton(x, constant, limit)[0], tangents)
        return self._newton(tangents, xy, limit)

    def _newton(
        self, tangents: Float[Array, "*n 2"], xy: Float[Array, "*n 2"], limit: Float[Array, ""]
    ) -> tuple[Float[Array, "*n 2"], Float[Array, "*n"]]:
        """Make one step of `_undistort`; return how far the image was from `xy` before it."""
        axes = [jnp.broadcast_to(jnp.eye(2, dtype=xy.dtype)[i], tangents.shape) for i in range(2)]
        image, push = jax.linearize(self.distort, tangents)
        (a, c), (b, d) = (jnp.moveaxis(push(axis), -1, 0) for axis in axes)
        ex, ey = jnp.moveaxis(xy - image, -1, 0)
        det = a * d - b * c
        det = jnp.where(jnp.abs(det) < 1e-6, 1e-6, det)
        step = jnp.stack([(d * ex - b * ey) / det, (a * ey - c * ex) / det], -1)
        return jnp.clip(tangents + step, -limit, limit), length(xy - image)
