"""A program for eight devices: `sharded_test` starts it, as their number is fixed when JAX starts."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ff_jax.render.camera import Camera, make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.multi_device import AXIS, draw, make_shards, placements
from ff_jax.render.renderer import RenderSettings, blend, project_gaussians, render
from ff_jax.scene import init_scene
from ff_jax.scene.scene import View
from ff_jax.train.state import Pace, init_state, make_optimizer
from ff_jax.train.step import Batch, ReconConfig, make_train_step
from kernels.project.specs import SceneSpec, make_scene

# Nothing divides: 203 Gaussians and 6 rows of tiles over 8 devices.
SPEC = SceneSpec(203, 61, 45, max_scale=0.4, sh_degree=1)
W, H = SPEC.width, SPEC.height
SETTINGS = RenderSettings(capacity=8192, tile=8, implementation="xla")
STEPS = 5


def drawn(rng, opaque=0.0):
    """Return random Gaussians, which of them live, and a camera."""
    arrays = {name: jnp.asarray(array) for name, array in make_scene(SPEC, rng).items()}
    logits = jnp.log(arrays["opacities"] / (1 - arrays["opacities"])) + opaque
    gaussians = Gaussians(arrays["means"], arrays["quats"], jnp.log(arrays["scales"]), logits, arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], W, H)
    return gaussians, jnp.asarray(rng.random(SPEC.gaussians) < 0.9), camera


def largest(got, wanted):
    """Return the largest difference of each array, relative to the largest number in it."""
    gap = lambda x, y: float(jnp.max(jnp.abs(x - y)) / (jnp.max(jnp.abs(y)) + 1e-30))
    return [gap(x, y) for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)]


# ---- splats of one projection: what is drawn must not change in a single bit


CAMERA = Camera(jnp.eye(3), jnp.eye(4), W, H)  # of which only the size counts: what it sees is projected already


@jax.jit
def on_one(splats):
    out, alpha, needed = blend(splats, CAMERA, SETTINGS)
    return jnp.concatenate([out, alpha[..., None]], -1), needed


@functools.partial(jax.jit, static_argnames="shards")
def on_many(splats, shards):
    rows = functools.partial(blend, camera=CAMERA, settings=SETTINGS)
    return draw(lambda *columns: type(splats)(*columns), rows, tuple(splats), (), shards, H, 8)


def blending(rng):
    """Check images of the same splats bit for bit, opaque scenes too, and what happens where room is short."""
    for opaque in (0.0, 4.0, 4.0):
        gaussians, alive, camera = drawn(rng, opaque)
        splats = jax.jit(project_gaussians, static_argnums=3)(gaussians, alive, camera, SETTINGS)
        (image, total), (same, needed, sent) = on_one(splats), on_many(splats, make_shards())
        assert np.array_equal(image, same)
        assert 0 < int(needed) < int(total) <= SETTINGS.capacity
        assert 1 < int(sent) <= 26  # 203 / 8
    # Just enough room, and too little, which is reported.
    (tight, *_, same_sent), (short, *_, short_sent) = (on_many(splats, make_shards(room=int(sent) - k)) for k in (0, 5))
    assert np.array_equal(image, tight) and not np.array_equal(image, short)
    assert int(sent) == int(same_sent) == int(short_sent)
    alone, needed, _ = on_many(splats, make_shards(jax.devices()[:1]))
    assert np.array_equal(image, alone) and int(needed) == int(total)


# ---- from the Gaussians


@functools.partial(jax.jit, static_argnames="shards")
def value_and_slope(gaussians, alive, camera, nudge, cotangent, shards):
    settings = dataclasses.replace(SETTINGS, shards=shards)

    def total(gaussians, camera, nudge):
        out = render(gaussians, alive, camera, settings, sh_degree=1, nudge=nudge)
        image = jnp.concatenate([out.rgb, out.depth[..., None], out.alpha[..., None]], -1)
        return jnp.sum(image * cotangent), (image, out.sent)

    return jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(gaussians, camera, nudge)


def rendering(rng):
    """Check the image, and its gradient with respect to all of the Gaussians, the camera and the centres."""
    value = slope = 0.0
    for opaque in (0.0, 4.0, 4.0):
        gaussians, alive, camera = drawn(rng, opaque)
        nudge, cotangent = jnp.zeros((SPEC.gaussians, 2)), jnp.asarray(rng.standard_normal((H, W, 5)), jnp.float32)
        inputs = (gaussians, alive, camera, nudge, cotangent)
        (_, (image, none)), wanted = value_and_slope(*inputs, None)
        (_, (same, sent)), got = value_and_slope(*inputs, make_shards())
        assert int(none) == 0 < int(sent)
        value, slope = max(value, *largest(same, image)), max(slope, *largest(got, wanted))
    print("value", value, "slope", slope)
    assert value < 1e-5 and slope < 2e-4


# ---- training


def make_batch(image, shift):
    pose = np.eye(4)
    pose[0, 3] = shift
    camera = make_camera(np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]]), pose, 40, 24)
    zero, off = jnp.zeros((24, 40)), jnp.zeros((24, 40), bool)
    view = View(camera, jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.float32(0))
    return Batch(image, zero + 1, view, off, jnp.bool_(False), zero, jnp.bool_(False), off)


def start_and_target(rng):
    """Return a scene to train, of 96 slots, and the image of another one."""
    xyz, rgb = rng.uniform([-2, -1, 3], [2, 1, 8], (90, 3)), rng.uniform(size=(90, 3))
    sizes = {"capacity": 96, "sh_degree": 1, "exposures": 1, "frames": 1, "cameras": 1}
    make = lambda xyz, rgb: init_scene(
        jax.random.key(0), *[jnp.asarray(a, jnp.float32) for a in (xyz, rgb, np.full(90, 0.4))], **sizes
    )
    truth, start = make(xyz, rgb), make(xyz + 0.05 * rng.normal(size=xyz.shape), np.full_like(rgb, 0.5))
    # Of a sphere the slope along rotations is nothing but rounding, which Adam blows up to whole steps.
    oblong = start.params.gaussians.log_scales + rng.normal(size=(96, 3)).astype(np.float32) / 3
    start = start.replace(params=start.params.replace(gaussians=start.params.gaussians.replace(log_scales=oblong)))
    camera = make_batch(jnp.zeros((24, 40, 3)), 0.1).view.camera
    settings = RenderSettings(capacity=4096, tile=8, implementation="xla")
    return start, render(truth.params.gaussians, truth.alive, camera, settings, sh_degree=0).rgb


def train(start, batch, shards):
    """Return the losses of a few steps, and the state after them."""
    config, pace = ReconConfig(sh_degree=1, sh_every=2, budget=96), Pace(radius=2.0, steps=60)
    settings = RenderSettings(capacity=4096, tile=8, implementation="xla", shards=shards)
    state = init_state(jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(config.optim, pace))
    step = make_train_step(config, settings)
    if shards is not None:
        state = jax.device_put(state, placements(state, 96, shards))
        batch = jax.device_put(batch, placements(batch, 0, shards))
    losses = []
    for _ in range(STEPS):
        state, shown = step(state, batch, pace)
        losses.append(float(shown["loss"]))
    return np.array(losses), state


def training(rng):
    """Check the losses of a few steps, and that parameters and moments stay split."""
    start, image = start_and_target(rng)
    batch = make_batch(image, 0.0)
    (wanted, _), (losses, many) = train(start, batch, None), train(start, batch, make_shards())
    assert wanted[-1] < wanted[0]
    print("losses", np.abs(losses / wanted - 1).max())
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    split = [x for x in jax.tree.leaves((many.opt, many.scene)) if x.ndim and x.shape[0] == 96]
    assert len(split) >= 3 * 5 + 2  # parameters, two moments each, alive and node
    assert all(x.sharding.spec == PartitionSpec(AXIS) for x in split)
    assert {part.data.shape for part in many.scene.params.gaussians.means.addressable_shards} == {(12, 3)}


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    rng = np.random.default_rng(int(sys.argv[2]))
    for check in {"images": (blending, rendering), "steps": (training,)}[sys.argv[1]]:
        check(rng)
    print("devices ok")
