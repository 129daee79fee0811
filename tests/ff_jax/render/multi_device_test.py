"""One scene on several devices is one scene on one device."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.multi_device import AXIS, SPLAT_BYTES, Shards, bytes_sent, make_shards, placements
from ff_jax.render.renderer import RenderSettings, render
from kernels.project.specs import TINY, make_scene
from tests.compiling import ONE_PART

# Eight devices; what takes long is compiling. No other flags: other code rounds otherwise, which training magnifies.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
FLAGS += f" --xla_llvm_disable_expensive_passes=true {ONE_PART}"
SETTINGS = RenderSettings(capacity=4096, tile=8, implementation="xla")


@pytest.mark.parametrize("what", ["images", "steps"])
def test_eight_devices_are_one(server, what):
    seed = np.random.default_rng().integers(2**31)
    done = server.run("tests.ff_jax.render.simulated_devices", what, seed, XLA_FLAGS=FLAGS)
    assert "devices ok" in done.stdout, done.stdout + done.stderr[-3000:]


def drawn():
    arrays = {name: jnp.asarray(array) for name, array in make_scene(TINY, np.random.default_rng()).items()}
    shape = (arrays["means"], arrays["quats"], jnp.log(arrays["scales"]))
    gaussians = Gaussians(*shape, arrays["opacities"], arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], TINY.width, TINY.height)
    return gaussians, jnp.ones(TINY.gaussians, bool), camera


def test_shapes_are_those_of_any_render():
    shapes = lambda settings: jax.eval_shape(functools.partial(render, settings=settings), *drawn())
    wanted = shapes(SETTINGS)
    assert shapes(dataclasses.replace(SETTINGS, shards=make_shards(jax.devices()[:1]))) == wanted
    assert wanted.rgb.shape == (TINY.height, TINY.width, 3)


def test_the_gradient_lowers_for_gpus():
    device = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    mesh = AbstractMesh((4,), (AXIS,), axis_types=(AxisType.Auto,), abstract_device=device)
    settings = RenderSettings(capacity=4096, implementation="pallas", shards=Shards(mesh))
    like = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)

    def total(gaussians, alive, camera):
        view = render(gaussians, alive, camera, settings)
        return jnp.sum(view.rgb) + jnp.sum(view.depth)

    with jax.sharding.use_abstract_mesh(mesh):
        traced = jax.jit(jax.grad(total)).trace(*jax.tree.map(like, drawn()))
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    messages = re.findall(r'"stablehlo.all_to_all".*-> tensor<(\d+)x(\d+)x(\d+)xf32>', text)
    assert len(messages) == 2  # splats, and their cotangents back
    sent = bytes_sent(TINY.gaussians, TINY.width, TINY.height, 16, settings.shards).splats
    assert all((int(d) - 1) * int(room) * int(columns) * 4 == sent for d, room, columns in messages)
    assert "triton" in text


def test_what_has_a_row_per_slot_is_split_if_it_divides():
    shards = Shards(AbstractMesh((4,), (AXIS,), axis_types=(AxisType.Auto,)), room=5)
    tree = {"slots": np.zeros((12, 3)), "frames": np.zeros((7, 6)), "step": np.int32(0)}
    split, whole = PartitionSpec(AXIS), PartitionSpec()
    specs = lambda slots: {name: place.spec for name, place in placements(tree, slots, shards).items()}
    assert specs(12) == {"slots": split, "frames": whole, "step": whole}
    assert specs(7) == {"slots": whole, "frames": whole, "step": whole}
    assert SPLAT_BYTES == 48
    assert bytes_sent(1000, 61, 45, 8, shards) == (3 * 5 * 48, 3 * 2 * 8 * 61 * 5 * 4)
    assert bytes_sent(1001, 61, 45, 8, dataclasses.replace(shards, room=None)).splats == 3 * 251 * 48


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="room=0 holds no splat"):
        make_shards(room=0)
