"""One scene on several devices is one scene on one device."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from ff_jax.render.multi_device import AXIS, SPLAT_BYTES, Shards, bytes_sent, make_shards, placements
from ff_jax.render.renderer import RenderInput, RenderSettings, render
from kernels.project.specs import TINY
from tests import programs
from tests.compiling import ONE_PART
from tests.ff_jax.render.simulated_devices import random_input
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

# Eight devices; compiling takes most of the time. No other flags: other code rounds differently, and training amplifies
# that.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
FLAGS += f" --xla_llvm_disable_expensive_passes=true {ONE_PART}"
SETTINGS = RenderSettings(capacity=4096, tile=8, implementation="xla")


@pytest.mark.parametrize("check", ["images", "steps"])
def test_eight_devices_equal_one(check):
    seed = seeded_rng().integers(2**31)
    done = programs.run_process("tests.ff_jax.render.simulated_devices", check, seed, XLA_FLAGS=FLAGS)
    assert "devices ok" in done.stdout, done.stdout + done.stderr[-3000:]


def tiny_input(settings: RenderSettings) -> RenderInput:
    inputs = random_input(seeded_rng(), TINY, settings)
    return inputs.replace(world=inputs.world._replace(alive=jnp.ones(TINY.gaussians, bool)))


def test_shapes_are_those_of_one_device():
    def shapes(settings):
        return jax.eval_shape(render, tiny_input(settings))

    expected = shapes(SETTINGS)
    assert shapes(dataclasses.replace(SETTINGS, shards=make_shards(jax.devices()[:1]))) == expected
    assert expected.rgb.shape == (TINY.height, TINY.width, 3)


def test_the_gradient_lowers_for_gpus():
    device = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    mesh = AbstractMesh((4,), (AXIS,), axis_types=(AxisType.Auto,), abstract_device=device)
    shards = Shards(mesh)
    inputs = tiny_input(RenderSettings(capacity=4096, implementation="pallas", shards=shards))

    def total(gaussians, inputs):
        view = render(inputs.replace(world=inputs.world._replace(gaussians=gaussians)))
        return jnp.sum(view.rgb) + jnp.sum(view.depth)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs.replace(sh_degree=jnp.int32(3)))
    with jax.sharding.use_abstract_mesh(mesh):
        traced = jax.jit(jax.grad(total)).trace(shapes.world.gaussians, shapes)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    messages = re.findall(r'"stablehlo.all_to_all".*-> tensor<(\d+)x(\d+)x(\d+)xf32>', text)
    assert len(messages) == 2  # splats, and their cotangents back
    sent = bytes_sent(TINY.gaussians, TINY.width, TINY.height, 16, shards).splats
    assert all((int(d) - 1) * int(capacity) * int(columns) * 4 == sent for d, capacity, columns in messages)
    assert "triton" in text


def test_arrays_with_a_row_per_slot_are_split_if_it_divides():
    shards = Shards(AbstractMesh((4,), (AXIS,), axis_types=(AxisType.Auto,)), send_capacity=5)
    tree = {"slots": np.zeros((12, 3)), "frames": np.zeros((7, 6)), "step": np.int32(0)}
    split, whole = PartitionSpec(AXIS), PartitionSpec()

    def specs(slots):
        return {name: placement.spec for name, placement in placements(tree, slots, shards).items()}

    assert specs(12) == {"slots": split, "frames": whole, "step": whole}
    assert specs(7) == {"slots": whole, "frames": whole, "step": whole}
    assert SPLAT_BYTES == 48
    assert bytes_sent(1000, 61, 45, 8, shards) == (3 * 5 * 48, 3 * 2 * 8 * 61 * 5 * 4)
    assert bytes_sent(1001, 61, 45, 8, dataclasses.replace(shards, send_capacity=None)).splats == 3 * 251 * 48


def test_a_send_capacity_of_zero_is_an_error():
    with pytest.raises(ValueError, match="invalid send_capacity=0"):
        make_shards(send_capacity=0)
