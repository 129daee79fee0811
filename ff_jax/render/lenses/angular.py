"""Lenses that map the angle from the optical axis, so that fields of view beyond 180 degrees are possible."""

import jax.numpy as jnp
from flax import struct
from jax import Array, lax
from jaxtyping import ArrayLike, Float

from ff_jax.render.lenses.formulas import first_fold, invert_increasing, polynomial
from ff_jax.render.lenses.polar import LensPoints, LensRays, length, polar, rays_at


class FisheyeLens(struct.PyTreeNode):
    """OpenCV's fisheye: angle (1 + k1 angle^2 + .. + k4 angle^8) from the axis; its depth is the distance."""

    radial: Float[Array, "4"]  # k1 to k4
    max_angle: Float[Array, ""]  # radians from the optical axis, up to pi

    @property
    def has_angular_depth(self) -> bool:
        """Say whether depth is the distance from the camera (True) or the camera z."""
        return True

    def within(self, reach: Float[Array, ""]) -> "FisheyeLens":
        """Return the lens: its largest angle is that of its calibration, whatever the image."""
        return self

    def to_plane(self, points: Float[Array, "*n 3"]) -> LensPoints:
        """Map points in the camera frame, meters, to the lens plane."""
        limit = self._largest_angle()
        rho, angle = polar(points)
        radius = self._radius(jnp.minimum(angle, limit)) * jnp.maximum(angle / limit, 1.0)
        return LensPoints(points[..., :2] * (radius / rho)[..., None], angle <= limit)

    def to_rays(self, xy: Float[Array, "*n 2"]) -> LensRays:
        """Map points of the lens plane to unit directions in the camera frame."""
        limit = self._largest_angle()
        radius = length(xy)
        beyond = radius / self._radius(limit)
        angle = invert_increasing(FisheyeLens._radius, self, radius, limit)
        return rays_at(xy / radius[..., None], angle, limit, beyond)

    def _radius(self, angle: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
        return angle * polynomial((1.0, *self.radial), angle * angle)

    def _largest_angle(self) -> Float[Array, ""]:
        return first_fold(self._radius, lax.stop_gradient(self.max_angle))


class FThetaLens(struct.PyTreeNode):
    """A lens whose distance from the axis is a polynomial of the angle, or the angle one of the distance.

    One polynomial is the reference; the other one is where the iterations for its inverse begin. Distances are in
    focal lengths (`ftheta_lens` converts from pixels). Depth is the distance from the camera.
    """

    to_radius: Float[Array, "n"]  # coefficients of angle^0, angle^1, ... [radians]
    to_angle: Float[Array, "m"]  # coefficients of distance^0, distance^1, ...
    max_angle: Float[Array, ""]  # radians from the optical axis, up to pi
    linear: Float[Array, "3"]  # c, d, e: (x, y) becomes (c x + d y, e x + y)
    has_angle_reference: bool = struct.field(pytree_node=False, default=True)  # `to_angle` is the reference

    @property
    def has_angular_depth(self) -> bool:
        """Say whether depth is the distance from the camera (True) or the camera z."""
        return True

    def within(self, reach: Float[Array, ""]) -> "FThetaLens":
        """Return the lens: its largest angle is that of its calibration, whatever the image."""
        return self

    def to_plane(self, points: Float[Array, "*n 3"]) -> LensPoints:
        """Map points in the camera frame, meters, to the lens plane."""
        rho, angle = polar(points)
        limit = lax.stop_gradient(self.max_angle)
        radius = self._radius(jnp.minimum(angle, limit)) * jnp.maximum(angle / limit, 1.0)
        x, y = jnp.moveaxis(points[..., :2] * (radius / rho)[..., None], -1, 0)
        c, d, e = self.linear
        return LensPoints(jnp.stack([c * x + d * y, e * x + y], -1), angle <= limit)

    def to_rays(self, xy: Float[Array, "*n 2"]) -> LensRays:
        """Map points of the lens plane to unit directions in the camera frame."""
        c, d, e = self.linear
        x, y = xy[..., 0], xy[..., 1]
        straight = jnp.stack([x - d * y, c * y - e * x], -1) / (c - d * e)
        radius, limit = length(straight), lax.stop_gradient(self.max_angle)
        largest = self._radius(limit)
        start = _evaluate(self.to_angle, jnp.minimum(radius, largest))
        angle = start
        if not self.has_angle_reference:
            angle = invert_increasing(_evaluate, self.to_radius, radius, limit, start)
        return rays_at(straight / radius[..., None], angle, limit, radius / largest)

    def _radius(self, angle: Float[Array, "*n"]) -> Float[Array, "*n"]:
        radius = _evaluate(self.to_radius, angle)
        if not self.has_angle_reference:
            return radius
        limit = 2.0 * lax.stop_gradient(_evaluate(self.to_radius, self.max_angle))
        return invert_increasing(_evaluate, self.to_angle, angle, limit, radius)


def _evaluate(coefficients: Float[Array, "k"], x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Evaluate a polynomial, constant first."""
    return jnp.asarray(polynomial(tuple(coefficients), x))
