"""Ray hits against marching, for every kind of primitive, and culling against no culling."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic.ground import FAR
from ff_jax.data.synthetic.primitive_builders import box, cylinder, ellipsoid, pack, panel
from ff_jax.data.synthetic.ray_casting import reach_cone
from ff_jax.data.synthetic.ray_intersections import hit, local_normal, unpack
from ff_jax.data.synthetic.types import BOX, CYLINDER, ELLIPSOID, METAL, PANEL
from tests.random_inputs import seeded_rng

GRAY = (0.3, 0.3, 0.3)
COUNTS = (1, 1, 1, 1)
RAYS = 1500


def _row(part):
    """Return the geometry row of a single static part."""
    packed = pack([part], COUNTS)
    k = part.kind
    row = [*packed.center[k], jnp.cos(packed.yaw[k]), jnp.sin(packed.yaw[k]), *packed.shape[k]]
    return unpack(jnp.stack(row)[None])


def _inside(part, p):
    """Tell whether points are in a solid part placed at the origin without yaw."""
    x, y, z = np.moveaxis(p, -1, 0)
    if part.kind == BOX:
        bf, br, bs, hz, af, ar, sl = part.shape
        return (x + af * z < bf) & (ar * z - x < br) & (np.abs(y) + sl * z < bs) & (np.abs(z) < hz)
    if part.kind == CYLINDER:
        r, k, half, lying = part.shape
        w, a, b = (y, x, z) if lying else (z, x, y)
        return (np.abs(w) < half) & (a * a + b * b < (r + k * w) ** 2)
    return (x / part.shape[0]) ** 2 + (y / part.shape[1]) ** 2 + (z / part.shape[2]) ** 2 < 1


PARTS = {
    "box": box((0, 0, 0), (2.0, 1.4, 1.0), METAL, GRAY, taper=(0.5, 0.2, 0.3)),
    "cone": cylinder((0, 0, 0), 0.9, 1.8, METAL, GRAY, top=0.3),
    "wheel": cylinder((0, 0, 0), 0.8, 0.6, METAL, GRAY, lying=True),
    "ball": ellipsoid((0, 0, 0), (1.0, 0.6, 0.8), METAL, GRAY),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_first_hit_is_where_marching_enters(name):
    part, rng = PARTS[name], seeded_rng()
    origin = rng.normal(size=(RAYS, 3))
    origin *= 4.0 / np.linalg.norm(origin, axis=1, keepdims=True)
    direction = rng.uniform(-0.5, 0.5, (RAYS, 3)) - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    steps = np.arange(0, 8, 2e-3)
    inside = _inside(part, origin[:, None] + steps[:, None] * direction[:, None])
    expected = np.where(inside.any(1), steps[inside.argmax(1)], FAR)
    o, d = (jnp.asarray(a.T, jnp.float32) for a in (origin, direction))
    got = np.asarray(hit(part.kind, _row(part), o, d, jnp.float32(0)))
    assert ((got >= FAR) | inside.any(1)).mean() > 0.995  # all but grazes that marching steps over
    sure = inside.sum(1) > 10
    assert sure.sum() > 0.8 * RAYS
    np.testing.assert_allclose(got[sure], expected[sure], atol=3e-3)
    point = o + got * d
    normal = np.asarray(local_normal(jnp.full(RAYS, part.kind), _row(part), point))[:, got < FAR]
    outside = _inside(part, (np.asarray(point)[:, got < FAR] + 0.01 * normal).T)
    assert not outside.any()
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1.0, atol=1e-5)


def test_rays_steeper_than_the_flank_of_a_cone_hit_it():
    part, rng = PARTS["cone"], seeded_rng()
    angle, aim = rng.uniform(0, 2 * np.pi, 400), rng.uniform(0.35, 0.85, 400)  # beyond the top, within the foot
    origin = np.stack([aim * np.cos(angle), aim * np.sin(angle), 0 * aim + 5.0])
    down = np.array([0.0, 0.0, -1.0])[:, None] + 0 * origin
    o, d = jnp.asarray(origin, jnp.float32), jnp.asarray(down, jnp.float32)
    got = hit(CYLINDER, _row(part), o, d, jnp.float32(0))
    radius, slope = part.shape[0], part.shape[1]
    np.testing.assert_allclose(got, 5.0 - (aim - radius) / slope, atol=1e-4)


def test_slats_let_rays_through():
    part = panel((0, 0, 0), 4.0, 1.0, METAL, GRAY, slats=(0.2, 0.5))
    x = jnp.linspace(-1.9, 1.9, 400)
    origin = jnp.stack([x, 0 * x - 3.0, 0 * x])
    direction = jnp.stack([0 * x, 0 * x + 1, 0 * x])
    got = np.asarray(hit(PANEL, _row(part), origin, direction, jnp.float32(0)))
    assert np.mean(got < FAR) == pytest.approx(0.5, abs=0.06)
    np.testing.assert_allclose(got[got < FAR], 3.0, atol=1e-5)
    on_rail = hit(PANEL, _row(part), origin.at[2].set(0.43), direction, jnp.float32(0))
    assert (np.asarray(on_rail) < FAR).all()


def test_leaves_have_holes_that_close_with_distance():
    part = ellipsoid((0, 0, 0), (1.0, 1.0, 1.0), METAL, GRAY, leaves=0.2, frequency=2.5)
    u = np.linspace(-0.5, 0.5, 30)
    y, z = (jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(u, u))
    origin = jnp.stack([0 * y - 5, y, z])
    direction = jnp.stack([0 * y + 1, 0 * y, 0 * y])
    near, far = (np.asarray(hit(ELLIPSOID, _row(part), origin, direction, jnp.float32(c))) for c in (0.0, 1.0))
    assert 0.02 < np.mean(near >= FAR) < 0.6
    assert (far < FAR).all()


@pytest.mark.slow
def test_culling_never_loses_a_sphere_that_a_ray_meets():
    rng = seeded_rng()
    centers, radii = rng.uniform(-20, 20, (300, 3)), rng.uniform(0.1, 3, 300)
    axis = rng.normal(size=(3, 8, 1))
    direction = axis / np.linalg.norm(axis, axis=0) + 0.2 * rng.normal(size=(3, 8, 30))
    origin = np.array([1.0, 2.0, 0.5])
    unit = direction / np.linalg.norm(direction, axis=0)
    offset = centers - origin
    along = np.einsum("nk,kbr->nbr", offset, unit)
    closest = np.sqrt(np.maximum((offset**2).sum(1)[:, None, None] - along**2, 0))
    distance = np.where(along > 0, closest, np.linalg.norm(offset, axis=1)[:, None, None])
    meets = (distance < radii[:, None, None]).any(2).T
    got = np.asarray(reach_cone(*(jnp.asarray(a, jnp.float32) for a in (centers, radii, origin, direction))))
    assert (got | ~meets).all()
    assert got.mean() < 0.9
    assert BOX == 0 and CYLINDER == 1  # storage order
