"""Every jax transformation through the primitives of `rasterize`."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import TileGrid, bin_tiles, rasterize
from kernels.rasterize.specs import SplatSpec, make_splats, projected_of

pytestmark = pytest.mark.slow

SPEC = SplatSpec(24, 13, 9, 2)
GRID = TileGrid(SPEC.width, SPEC.height, 8)
ROOT = Path(__file__).parents[3]


def render(splats: dict, name: str = "xla"):
    """Render features and alpha, stacked."""
    projected = projected_of(splats)
    bins = bin_tiles(projected, GRID, capacity=200, implementation="xla")
    return jnp.dstack(rasterize(projected, splats["features"], bins, implementation=name))


def random_splats(seed: int | None = None) -> dict:
    return {k: jnp.asarray(v) for k, v in make_splats(SPEC, np.random.default_rng(seed)).items()}


def close(a, b, tolerance=1e-4):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=tolerance * np.abs(y).max()), a, b)


def moved(splats: dict, shift):
    """Move the means by `shift` px and scale the features: a function of three numbers."""
    return {**splats, "mean2d": splats["mean2d"] + shift[:2], "features": splats["features"] * (1 + shift[2])}


def test_modes_agree_under_every_transformation():
    """jvp, jacfwd, vmap of tangents, linearize, vjp, linear_transpose, checkpoint, scan: one Jacobian."""
    splats = random_splats()
    zero, basis = jnp.zeros(3), jnp.eye(3)

    def image(shift):
        return render(moved(splats, shift))

    @jax.jit
    def transformed():
        out, linear = jax.linearize(image, zero)
        weight = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)

        def loss(shift):
            return jnp.sum(image(shift) * weight)

        def scanned(shift):
            return jax.lax.scan(lambda total, k: (total + k * loss(shift), None), 0.0, jnp.array([1.0, 2.0]))[0]

        return (
            weight,
            {
                "jacfwd": jax.jacfwd(image)(zero),
                "jvp": jnp.stack([jax.jvp(image, (zero,), (d,))[1] for d in basis], -1),
                "linearize": jnp.moveaxis(jax.vmap(linear)(basis), 0, -1),
            },
            {
                "transpose": jax.linear_transpose(linear, zero)(weight)[0],
                "checkpoint": jax.grad(jax.checkpoint(loss))(zero),
                "scan": jax.grad(scanned)(zero) / 3,
            },
        )

    weight, jacobians, gradients = transformed()
    expected = jax.jit(jax.jacfwd(lambda s: render(moved(splats, s), "reference")))(zero)
    for got in jacobians.values():
        close(got, expected)
    for got in gradients.values():
        close(got, jnp.einsum("hwc,hwcd->d", weight, expected))


def test_batches_of_tangents_and_cotangents_through_the_kernels():
    splats = random_splats()

    def jacobians(name):
        def first_row(shift):
            return render(moved(splats, shift), name)[4, :, 0]

        return jax.jacfwd(first_row)(jnp.zeros(3)), jax.jacrev(first_row)(jnp.zeros(3))

    forward, reverse = jax.jit(jacobians, static_argnums=0)("pallas")
    expected, _ = jax.jit(jacobians, static_argnums=0)("reference")
    close(forward, expected)
    close(reverse, expected)


def test_vmap_over_cameras_and_gradients():
    """A batch of lists, splats and cotangents equals one call per element."""
    scenes = [random_splats() for _ in range(2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *scenes)

    def loss(splats):
        return jnp.sum(jnp.sin(render(splats)))

    keys = ("mean2d", "conic", "opacity", "features")
    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(stacked)
    alone = jax.jit(jax.value_and_grad(loss))
    for k, scene in enumerate(scenes):
        value, gradient = alone(scene)
        close(together[0][k], value)
        close({key: together[1][key][k] for key in keys}, {key: gradient[key] for key in keys})


@pytest.mark.parametrize("outer", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize("inner", [jax.grad, jax.jacfwd])
def test_second_derivatives_say_that_they_are_missing(outer, inner):
    splats = random_splats()
    loss = outer(lambda s: inner(lambda t: jnp.sum(render(moved(splats, t)) ** 2))(s)[0])
    with pytest.raises(NotImplementedError, match="second derivatives"):
        jax.eval_shape(loss, jnp.zeros(3))


def test_derivative_of_a_linearized_map_is_itself():
    """A map linear in its tangent may be differentiated by it, to any order."""
    splats = random_splats()

    def quadratic(direction):
        tangent = jax.jvp(lambda s: render(moved(splats, s)), (jnp.zeros(3),), (direction,))[1]
        return jnp.sum(tangent**2) / 2

    hessian = jax.jit(jax.hessian(quadratic))(jnp.ones(3))
    jacobian = jax.jit(jax.jacfwd(lambda s: render(moved(splats, s))))(jnp.zeros(3)).reshape(-1, 3)
    close(hessian, jacobian.T @ jacobian)


def test_a_gradient_is_one_walk_forward_and_one_back():
    """Reverse mode runs no tangent walk, and a value alone takes one walk."""
    splats = random_splats()
    text = str(jax.make_jaxpr(jax.grad(lambda s: jnp.sum(render(s))))(splats))
    assert [text.count(f"rasterize_{name}[") for name in ("forward", "tangent", "adjoint")] == [1, 0, 1]


SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
sys.path.insert(0, {tests!r})
import rasterize_transforms_test as t

mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
scenes = [t.random_splats(k) for k in range(2)]
stacked = jax.tree.map(lambda *x: jnp.stack(x), *scenes)

def one(splats, scale, name):
    return jnp.sum(jnp.sin(scale * t.render(splats, name)))

def mixed(splats):
    # The features of scene 0 on every device: operands of one call that vary differently.
    return {{**splats, "features": scenes[0]["features"]}}

def plain(stacked, scale):
    return sum(one(mixed(jax.tree.map(lambda x: x[k], stacked)), scale, "xla") for k in range(2))

expected = jax.jit(jax.value_and_grad(plain, argnums=(0, 1)))(stacked, jnp.float32(1.5))
for name in ("xla", "pallas"):
    def local(part, scale):
        return jax.lax.psum(one(mixed(jax.tree.map(lambda x: x[0], part)), scale, name), "d")

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(P("d"), P()), out_specs=P())
    t.close(jax.jit(jax.value_and_grad(sharded, argnums=(0, 1)))(stacked, jnp.float32(1.5)), expected)
print("sharded ok")
"""


def test_shard_map_on_two_devices():
    code = SHARDED.format(tests=str(Path(__file__).parent))
    devices = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    flags = {"XLA_FLAGS": devices, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, timeout=300)
    assert "sharded ok" in done.stdout, done.stderr[-3000:]
