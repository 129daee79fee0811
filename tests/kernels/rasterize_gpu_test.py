"""The compiled kernels on a GPU: right, bitwise reproducible, and right through project and bin_tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.bin_tiles import bin_tiles
from kernels.project import project
from kernels.project.specs import SceneSpec, make_scene
from kernels.rasterize import rasterize

pytestmark = pytest.mark.gpu

SPEC = SceneSpec(2000, 203, 90, max_scale=0.1, sh_degree=2)


def render(scene: dict, name: str):
    """Return features (colour, depth and a constant) and alpha, and the intersections needed."""
    size = {"width": SPEC.width, "height": SPEC.height}
    p = project(**scene, **size, antialiased=True)
    arrays = (p.mean2d, p.conic, p.opacity, p.extent, p.depth)
    bins = bin_tiles(*arrays, **size, capacity=1 << 17, implementation=name if name != "reference" else "xla")
    features = jnp.concatenate([p.color, p.depth[:, None], jnp.ones_like(p.depth[:, None])], -1)
    image = rasterize(p.mean2d, p.conic, p.opacity, features, bins, **size, implementation=name)
    return jnp.dstack(image), bins.needed


def everything(scene: dict, direction: dict, cotangent, name: str):
    value, pullback, needed = jax.vjp(lambda s: render(s, name), scene, has_aux=True)
    tangent = jax.jvp(lambda s: render(s, name)[0], (scene,), (direction,))[1]
    return {"value": value, "gradient": pullback(cotangent)[0], "tangent": tangent, "needed": needed}


RUN = jax.jit(everything, static_argnums=3)


def test_compiled_kernels_match_the_specification():
    rng = np.random.default_rng()
    scene = make_scene(SPEC, rng)
    direction = jax.tree.map(lambda x: (1e-2 * rng.normal(size=x.shape)).astype(np.float32), scene)
    cotangent = rng.normal(size=(SPEC.height, SPEC.width, 6)).astype(np.float32)
    got, again = (RUN(scene, direction, cotangent, "pallas") for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, got, again)
    assert int(got["needed"]) <= 1 << 17
    for name in ("xla", "reference"):
        wanted = RUN(scene, direction, cotangent, name)
        for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(wanted), strict=True):
            a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
            error = np.linalg.norm(a - b) / np.linalg.norm(b)
            print(f"{name} {jax.tree_util.keystr(path)} relative error {error:.1e}")
            assert error < 2e-3, (name, path)
