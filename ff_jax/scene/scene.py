"""Scene state and its one forward model.

`SceneParams` is everything that gradients reach; `Scene` adds what they do not (which slots are alive, which
node owns a slot, the boxes of the actors). Node 0 is the static background and owns the first slots; node 1 + a is
actor a, and the last slots of the buffer belong to actors. `compose` moves them into the world, so nothing
downstream knows about nodes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PyTree

from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, rgb_to_dc
from ff_jax.render.renderer import RenderSettings, ray_directions, render
from ff_jax.render.rigid import apply_delta
from ff_jax.scene.actors import ActorParams, Tracks, place, poses_at, still
from ff_jax.scene.camera_path import CameraPath
from ff_jax.scene.deformable import deform
from ff_jax.scene.exposure import apply_exposure, init_exposure
from ff_jax.scene.sky import init_sky, sky_color

BACKGROUND = 0  # node index of everything static
_SIZES = ("capacity", "sh_degree", "exposures", "frames", "cameras", "opacity")


@struct.dataclass
class SceneParams:
    """All that is trained; learning rates of zero freeze a group."""

    gaussians: Gaussians
    sky: PyTree  # parameters of `sky.SkyMLP`
    exposure: Float[Array, "E 3 4"]  # difference from the identity, one per exposure id
    poses: Float[Array, "F 6"]  # camera corrections: rotation vector [rad], translation [m], camera frame
    intrinsics: Float[Array, "C 4"]  # log fx, log fy [-], cx, cy [px] corrections, one per physical camera
    actors: ActorParams | None = None  # None without actors


@struct.dataclass
class Scene:
    """A trainable scene of fixed capacity."""

    params: SceneParams
    alive: Bool[Array, "N"]
    node: Int[Array, "N"]
    tracks: Tracks | None = None  # None without actors
    path: CameraPath | None = None  # of the recorded images; None where their poses are not learnt

    @property
    def statics(self) -> int:
        """Return how many slots, the first ones, belong to the background."""
        return self.alive.shape[0] - (self.tracks.slots if self.tracks else 0)


class Posed(NamedTuple):
    """All Gaussians at one time, in the world frame."""

    gaussians: Gaussians
    alive: Bool[Array, "N"]  # slots in use, of actors that are there
    axes: Float[Array, "N 3 3"] | None  # of the frames that colours answer to (columns, world); None: the world's


class View(NamedTuple):
    """What identifies one image to the forward model."""

    camera: Camera
    exposure: Int[Array, ""]  # row of `SceneParams.exposure`
    frame: Int[Array, ""]  # row of `SceneParams.poses`; negative for views that are not recorded
    rig: Int[Array, ""]  # row of `SceneParams.intrinsics`; negative likewise
    time: Float[Array, ""]  # seconds
    exposure_after: Int[Array, ""] | int = 0  # the row that is mixed in,
    share_after: Float[Array, ""] | float = 0.0  # and how far: from 0, not at all, to 1, that row alone


class SceneView(NamedTuple):
    """One rendered view of a scene."""

    rgb: Float[Array, "H W 3"]  # after exposure
    linear: Float[Array, "H W 3"]  # before exposure, background included
    depth: Float[Array, "H W"]  # accumulated camera z, metres times weight
    alpha: Float[Array, "H W"]
    sky: Float[Array, "H W 3"]
    needed: Int[Array, ""]
    sent: Int[Array, ""] | int = 0  # as in `RenderOut`


@partial(jax.jit, static_argnames=_SIZES)
def init_scene(
    key: Key[Array, ""],
    xyz: Float[Array, "M 3"],
    rgb: Float[Array, "M 3"],
    spacing: Float[Array, "M"],
    *,
    capacity: int,
    sh_degree: int,
    exposures: int,
    frames: int,
    cameras: int,
    opacity: float = 0.5,
) -> Scene:
    """Place one Gaussian at each of M points (world metres) in a buffer of `capacity` slots.

    Args:
        key: random key of the sky network.
        xyz: positions, world frame, metres.
        rgb: colours in [0, 1].
        spacing: initial standard deviation of each Gaussian, metres (mean distance to its neighbours).
        capacity: number of slots; the rest start dead.
        sh_degree: highest colour band stored.
        exposures: number of exposure ids.
        frames: number of recorded images.
        cameras: number of physical cameras.
        opacity: initial opacity.

    Raises:
        ValueError: more points than slots.
    """
    count = xyz.shape[0]
    if count > capacity:
        raise ValueError(f"{count} initial points do not fit into capacity={capacity}: raise the capacity.")
    pad = capacity - count
    grow = lambda x: jnp.concatenate([x, jnp.zeros((pad, *x.shape[1:]), x.dtype)])
    sh = jnp.zeros((count, (sh_degree + 1) ** 2, 3)).at[:, 0].set(rgb_to_dc(rgb))
    identity = jnp.zeros((capacity, 4)).at[:, 0].set(1.0)
    log_scales = jnp.repeat(jnp.log(spacing)[:, None], 3, 1)
    logits = jnp.full((count,), jnp.log(opacity / (1 - opacity)))
    gaussians = Gaussians(grow(xyz), identity, grow(log_scales), grow(logits), grow(sh))
    params = SceneParams(
        gaussians, init_sky(key), init_exposure(exposures), jnp.zeros((frames, 6)), jnp.zeros((cameras, 4))
    )
    return Scene(params, jnp.arange(capacity) < count, jnp.full((capacity,), BACKGROUND, jnp.int32))


def with_actors(
    scene: Scene,
    tracks: Tracks,
    xyz: Float[Array, "M 3"],
    rgb: Float[Array, "M 3"],
    spacing: Float[Array, "M"],
    actor: Int[Array, "M"],
    *,
    opacity: float = 0.5,
) -> Scene:
    """Return a scene without actors with `tracks.slots` more slots, and a Gaussian at each of M points.

    Args:
        scene: the background.
        tracks: the boxes of the actors.
        xyz: positions, object frames, metres.
        rgb: colours in [0, 1].
        spacing: initial standard deviations, metres.
        actor: whose point each is.
        opacity: initial opacity.

    Raises:
        ValueError: more points than slots.
    """
    start = scene.params
    sizes = {"exposures": 1, "frames": 1, "cameras": 1, "capacity": tracks.slots}
    degree = int(start.gaussians.sh.shape[1] ** 0.5) - 1
    own = init_scene(jax.random.key(0), xyz, rgb, spacing, sh_degree=degree, opacity=opacity, **sizes)
    join = lambda x, y: jnp.concatenate([x, y])
    gaussians = jax.tree.map(join, start.gaussians, own.params.gaussians)
    node = jnp.zeros(tracks.slots, jnp.int32).at[: len(actor)].set(actor.astype(jnp.int32)) + 1
    params = start.replace(gaussians=gaussians, actors=still(tracks))
    return Scene(params, join(scene.alive, own.alive), join(scene.node, node), tracks)


def compose(scene: Scene, time: Float[Array, ""]) -> Posed:
    """Return all Gaussians in the world frame at `time` (seconds); the static background does not move."""
    gaussians = scene.params.gaussians
    if scene.tracks is None or scene.params.actors is None:
        return Posed(gaussians, scene.alive, None)
    first = scene.statics
    fixed, own = (jax.tree.map(lambda x, part=part: x[part], gaussians) for part in (slice(first), slice(first, None)))
    tracks, params = scene.tracks, scene.params.actors
    poses = poses_at(tracks, params, time)
    if params.soft is not None:
        share = (time - tracks.times[0]) / (tracks.times[-1] - tracks.times[0])
        own = deform(own, scene.node[first:] - 1, params.soft, tracks.soft, tracks.sizes, share)
    moved, there, axes = place(own, scene.node[first:] - 1, poses)
    join = lambda x, y: jnp.concatenate([x, y])
    alive = join(scene.alive[:first], scene.alive[first:] & there)
    world = jnp.broadcast_to(jnp.eye(3), (first, 3, 3))
    return Posed(jax.tree.map(join, fixed, moved), alive, join(world, axes))


def refined_camera(params: SceneParams, view: View) -> Camera:
    """Return the view's camera with the learnt pose and intrinsics corrections of recorded images."""
    delta = jnp.where(view.frame >= 0, params.poses[view.frame], 0.0)
    intrinsics = jnp.where(view.rig >= 0, params.intrinsics[view.rig], 0.0)
    fx, fy = jnp.exp(intrinsics[0]), jnp.exp(intrinsics[1])
    K = view.camera.K.at[0, 0].multiply(fx).at[1, 1].multiply(fy)
    K = K.at[0, 2].add(intrinsics[2]).at[1, 2].add(intrinsics[3])
    return view.camera.replace(K=K, camera_from_world=apply_delta(delta, view.camera.camera_from_world))


def exposure_of(params: SceneParams, view: View) -> Float[Array, "3 4"]:
    """Return the exposure of a view, as its difference from the identity."""
    before, after = params.exposure[view.exposure], params.exposure[view.exposure_after]
    return (1 - view.share_after) * before + view.share_after * after


def render_scene(
    scene: Scene,
    view: View,
    settings: RenderSettings,
    sh_degree: int | Int[Array, ""] = 3,
    nudge: Float[Array, "N 2"] | None = None,
) -> SceneView:
    """Render a scene: Gaussians over the sky, then the view's exposure; `nudge` as in `render`."""
    camera = refined_camera(scene.params, view)
    sky = sky_color(scene.params.sky, ray_directions(camera))
    gaussians, alive, _ = compose(scene, view.time)
    out = render(gaussians, alive, camera, settings, sh_degree=sh_degree, background=sky, nudge=nudge)
    rgb = apply_exposure(out.rgb, exposure_of(scene.params, view))
    return SceneView(rgb, out.rgb, out.depth, out.alpha, sky, out.needed, out.sent)
