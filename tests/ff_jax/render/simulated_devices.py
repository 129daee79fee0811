"""A program for eight devices: `multi_device_test` starts it, because their number is fixed when JAX starts."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.multi_device import AXIS, make_shards, placements, render_sharded
from ff_jax.render.renderer import RenderInput, RenderSettings, blend, project_gaussians, render
from ff_jax.train.config import ReconConfig
from ff_jax.train.optimizer import ScheduleScale, make_optimizer
from ff_jax.train.state import init_state
from ff_jax.train.step import make_train_step
from kernels.project.specs import SceneSpec, make_scene
from tests.scenes import make_batch, make_view, pinhole, scene_from_points

# Nothing divides: 203 Gaussians and 6 rows of tiles over 8 devices.
SPEC = SceneSpec(203, 61, 45, max_scale=0.4, sh_degree=1)
W, H = SPEC.width, SPEC.height
SETTINGS = RenderSettings(capacity=8192, tile=8, implementation="xla")
STEPS = 5


def random_input(rng, spec=SPEC, settings=SETTINGS, logit_shift=0.0) -> RenderInput:
    """Draw a view of random Gaussians, a tenth of which are dead."""
    arrays = {name: jnp.asarray(array) for name, array in make_scene(spec, rng).items()}
    logits = jnp.log(arrays["opacities"] / (1 - arrays["opacities"])) + logit_shift
    gaussians = Gaussians(arrays["means"], arrays["quats"], jnp.log(arrays["scales"]), logits, arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], spec.width, spec.height)
    world = WorldGaussians(gaussians, jnp.asarray(rng.random(spec.gaussians) < 0.9))
    return RenderInput(world, camera, settings, spec.sh_degree)


def relative_differences(tree, expected):
    """Compute the largest difference of each array, relative to the largest number in it."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True)
    return [float(jnp.max(jnp.abs(x - y)) / (jnp.max(jnp.abs(y)) + 1e-30)) for x, y in pairs]


# ---- splats of one projection: the image must be equal bit for bit


CAMERA = Camera(jnp.eye(3), jnp.eye(4), W, H)  # only its size is used: the splats are projected already


@jax.jit
def on_one(splats):
    out, alpha, num_intersections = blend(splats, CAMERA, SETTINGS)
    return jnp.concatenate([out, alpha[..., None]], -1), num_intersections


@functools.partial(jax.jit, static_argnames="shards")
def on_many(splats, shards):
    def project(*columns):
        return type(splats)(*columns)

    rows = functools.partial(blend, camera=CAMERA, settings=SETTINGS)
    return render_sharded(project, rows, tuple(splats), (), shards, H, 8)


def check_blending(rng):
    """Check that images of the same splats are equal bit for bit, and the effect of a send capacity."""
    for logit_shift in (0.0, 4.0, 4.0):
        splats = jax.jit(project_gaussians)(random_input(rng, logit_shift=logit_shift))
        (image, total), (same, num_intersections, num_sent) = on_one(splats), on_many(splats, make_shards())
        assert np.array_equal(image, same)
        assert 0 < int(num_intersections) < int(total) <= SETTINGS.capacity
        assert 1 < int(num_sent) <= 26  # 203 / 8
    # A capacity that is just sufficient, and one that is too small, which is reported.
    enough, small = (on_many(splats, make_shards(send_capacity=int(num_sent) - k)) for k in (0, 5))
    assert np.array_equal(image, enough[0]) and not np.array_equal(image, small[0])
    assert int(num_sent) == int(enough[2]) == int(small[2])
    single, num_intersections, _ = on_many(splats, make_shards(jax.devices()[:1]))
    assert np.array_equal(image, single) and int(num_intersections) == int(total)


# ---- from the Gaussians


@functools.partial(jax.jit, static_argnames="shards")
def value_and_gradient(inputs, mean2d_offset, cotangent, shards):
    settings = dataclasses.replace(SETTINGS, shards=shards)

    def total(gaussians, camera, mean2d_offset):
        world = inputs.world._replace(gaussians=gaussians)
        out = render(inputs.replace(world=world, camera=camera, settings=settings), mean2d_offset=mean2d_offset)
        image = jnp.concatenate([out.rgb, out.depth[..., None], out.alpha[..., None]], -1)
        return jnp.sum(image * cotangent), (image, out.num_sent)

    differentiate = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
    return differentiate(inputs.world.gaussians, inputs.camera, mean2d_offset)


def check_rendering(rng):
    """Check the image, and its gradient with respect to all of the Gaussians, the camera and the centers."""
    value = gradient = 0.0
    for logit_shift in (0.0, 4.0, 4.0):
        offset, cotangent = jnp.zeros((SPEC.gaussians, 2)), jnp.asarray(rng.standard_normal((H, W, 5)), jnp.float32)
        arguments = random_input(rng, logit_shift=logit_shift), offset, cotangent
        (_, (image, none)), expected = value_and_gradient(*arguments, None)
        (_, (same, num_sent)), result = value_and_gradient(*arguments, make_shards())
        assert int(none) == 0 < int(num_sent)
        value = max(value, *relative_differences(same, image))
        gradient = max(gradient, *relative_differences(result, expected))
    print("value", value, "gradient", gradient)
    assert value < 1e-5 and gradient < 2e-4


# ---- training


def start_and_target(rng):
    """Make a scene of 96 slots to train, and the image of another one."""
    xyz, rgb = rng.uniform([-2, -1, 3], [2, 1, 8], (90, 3)), rng.uniform(size=(90, 3))
    truth = scene_from_points(xyz, rgb, 0.4, capacity=96)
    start = scene_from_points(xyz + 0.05 * rng.normal(size=xyz.shape), np.full_like(rgb, 0.5), 0.4, capacity=96)
    # The gradient of a sphere along rotations is only rounding error, which Adam scales to whole steps.
    oblong = start.params.gaussians.log_scales + rng.normal(size=(96, 3)).astype(np.float32) / 3
    start = start.replace(params=start.params.replace(gaussians=start.params.gaussians.replace(log_scales=oblong)))
    settings = RenderSettings(capacity=4096, tile=8, implementation="xla")
    world = WorldGaussians(truth.params.gaussians, truth.alive)
    return start, render(RenderInput(world, pinhole(40, 24, 30.0, 0.1), settings, 0)).rgb


def train(start, batch, shards):
    """Train a few steps; return their losses, and the state after them."""
    config, scale = ReconConfig(sh_degree=1, sh_every=2, budget=96), ScheduleScale(radius=2.0, steps=60)
    settings = RenderSettings(capacity=4096, tile=8, implementation="xla", shards=shards)
    state = init_state(jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(config.optim, scale))
    step = make_train_step(config, settings)
    if shards is not None:
        state = jax.device_put(state, placements(state, 96, shards))
        batch = jax.device_put(batch, placements(batch, 0, shards))
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, batch, scale)
        losses.append(float(metrics["loss"]))
    return np.array(losses), state


def check_training(rng):
    """Check the losses of a few steps, and that parameters and moments stay split."""
    start, image = start_and_target(rng)
    batch = make_batch(image, make_view(pinhole(40, 24, 30.0), frame=0, rig=0))
    (expected, _), (losses, state) = train(start, batch, None), train(start, batch, make_shards())
    assert expected[-1] < expected[0]
    print("losses", np.abs(losses / expected - 1).max())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    split = [x for x in jax.tree.leaves((state.opt, state.scene)) if x.ndim and x.shape[0] == 96]
    assert len(split) >= 3 * 5 + 2  # parameters, two moments each, alive and node
    assert all(x.sharding.spec == PartitionSpec(AXIS) for x in split)
    assert {part.data.shape for part in state.scene.params.gaussians.means.addressable_shards} == {(12, 3)}


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    rng = np.random.default_rng(int(sys.argv[2]))
    for check in {"images": (check_blending, check_rendering), "steps": (check_training,)}[sys.argv[1]]:
        check(rng)
    print("devices ok")
