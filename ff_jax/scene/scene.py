"""The scene and its forward model.

`SceneParams` holds all trainable arrays. `Scene` adds the others: which slots are alive, which node owns a slot, the
boxes of the actors. `SceneModel` adds the settings of the renderer. Node 0 is the static background and owns the first
slots; node 1 + a is actor a, and the last slots of the buffer belong to actors. `compose` moves all Gaussians to the
world frame, so later steps do not depend on nodes.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PyTree

from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians, rgb_to_dc
from ff_jax.render.renderer import RenderInput, RenderSettings, ray_directions, render
from ff_jax.render.rigid import apply_delta
from ff_jax.scene.actors import ActorParams, Tracks, identity_motion, poses_at, to_world
from ff_jax.scene.camera_path import CameraPath
from ff_jax.scene.deformable import deform
from ff_jax.scene.exposure import apply_exposure, init_exposure
from ff_jax.scene.novel_deformation import move_for_camera
from ff_jax.scene.sky import init_sky, sky_color

BACKGROUND = 0  # node index of everything static


class SceneParams(struct.PyTreeNode):
    """All trainable arrays; learning rates of zero freeze a group."""

    gaussians: Gaussians
    sky: PyTree  # parameters of `sky.SkyMLP`
    exposure: Float[Array, "E 3 4"]  # difference from the identity, one per exposure id
    poses: Float[Array, "F 6"]  # camera corrections: rotation vector [rad], translation [m], camera frame
    intrinsics: Float[Array, "C 4"]  # log fx, log fy [-], cx, cy [px] corrections, one per physical camera
    actors: ActorParams | None = None  # None without actors
    novel: PyTree | None = None  # of `NovelMotion`; None without a deformation for cameras off the recorded path


class Scene(struct.PyTreeNode):
    """A trainable scene of fixed capacity."""

    params: SceneParams
    alive: Bool[Array, "N"]
    node: Int[Array, "N"]
    tracks: Tracks | None = None  # None without actors
    path: CameraPath | None = None  # of the recorded images; None if their poses are not optimized
    # Number of slots of the ground, the first ones: their positions and their number do not change.
    num_ground: int = struct.field(pytree_node=False, default=0)

    @property
    def num_static(self) -> int:
        """Return the number of slots of the ground and the background; they come before those of actors."""
        return self.alive.shape[0] - (self.tracks.slots if self.tracks else 0)


class View(NamedTuple):
    """One image to render: its camera and the rows of the per-image parameters."""

    camera: Camera
    exposure: Int[Array, ""]  # row of `SceneParams.exposure`
    frame: Int[Array, ""]  # row of `SceneParams.poses`; negative for views that are not recorded
    rig: Int[Array, ""]  # row of `SceneParams.intrinsics`; negative likewise
    time: Float[Array, ""]  # seconds
    exposure_after: Int[Array, ""] | int = 0  # second row of `SceneParams.exposure`
    share_after: Float[Array, ""] | float = 0.0  # its share in [0, 1] of the interpolated exposure
    offset: Float[Array, "3"] | None = None  # meters from the recorded camera of its time (world); None: recorded


class SceneModel(struct.PyTreeNode):
    """A scene with its render settings; the input of rendering, of the posterior and of the evaluation."""

    scene: Scene
    settings: RenderSettings = struct.field(pytree_node=False)
    sh_degree: Int[Array, ""] | int = 3  # highest color band that is active

    def render_input(self, view: View) -> RenderInput:
        """Compose the scene at the time of `view`, and refine its camera."""
        camera, world = refined_camera(self.scene.params, view), compose(self.scene, view.time)
        if self.scene.params.novel is not None and view.offset is not None:
            inputs = self.scene.params.novel, view.offset, view.time, self.scene.num_ground
            world = move_for_camera(world, *inputs)
        return RenderInput(world, camera, self.settings, self.sh_degree)

    def prepare(self, view: View) -> View:
        """Drop the offset of a view if nothing depends on it, so that all views share compiled programs."""
        return view if self.scene.params.novel is not None else view._replace(offset=None)


class RenderedScene(NamedTuple):
    """One rendered view of a scene."""

    rgb: Float[Array, "H W 3"]  # after exposure
    linear: Float[Array, "H W 3"]  # before exposure, background included
    depth: Float[Array, "H W"]  # accumulated camera z, meters times weight
    alpha: Float[Array, "H W"]
    sky: Float[Array, "H W 3"]
    num_intersections: Int[Array, ""]  # as in `RenderOutput`
    num_sent: Int[Array, ""]


class PointCloud(NamedTuple):
    """Initial points of the background or of actors."""

    xyz: Float[Array | np.ndarray, "M 3"]  # meters, world frame or object frames
    rgb: Float[Array | np.ndarray, "M 3"]  # colors in [0, 1]
    spacing: Float[Array | np.ndarray, "M"]  # initial standard deviations, meters (mean distance to the neighbors)


@dataclasses.dataclass(frozen=True)
class SceneSizes:
    """Sizes of the arrays of a scene (static).

    Attributes:
        capacity: number of slots; those without a point are not alive.
        sh_degree: highest color band stored.
        exposures: number of exposure ids.
        frames: number of recorded images.
        cameras: number of physical cameras.
    """

    capacity: int
    sh_degree: int
    exposures: int = 1
    frames: int = 1
    cameras: int = 1


@partial(jax.jit, static_argnames=("sizes", "opacity"))
def init_scene(key: Key[Array, ""], points: PointCloud, sizes: SceneSizes, *, opacity: float = 0.5) -> Scene:
    """Place one Gaussian at each point of a cloud.

    Args:
        key: random key of the sky network.
        points: the cloud, float32 on the device.
        sizes: of the arrays.
        opacity: initial opacity.

    Raises:
        ValueError: more points than slots.
    """
    xyz, rgb, spacing = map(jnp.asarray, points)
    capacity = sizes.capacity
    count = xyz.shape[0]
    if count > capacity:
        raise ValueError(f"{count} initial points do not fit into {capacity=}: increase the capacity.")

    def pad(x: Array) -> Array:
        return jnp.concatenate([x, jnp.zeros((capacity - count, *x.shape[1:]), x.dtype)])

    sh = jnp.zeros((count, (sizes.sh_degree + 1) ** 2, 3)).at[:, 0].set(rgb_to_dc(rgb))
    identity = jnp.zeros((capacity, 4)).at[:, 0].set(1.0)
    log_scales = jnp.repeat(jnp.log(spacing)[:, None], 3, 1)
    logits = jnp.full((count,), jnp.log(opacity / (1 - opacity)))
    gaussians = Gaussians(pad(xyz), identity, pad(log_scales), pad(logits), pad(sh))
    params = SceneParams(
        gaussians=gaussians,
        sky=init_sky(key),
        exposure=init_exposure(sizes.exposures),
        poses=jnp.zeros((sizes.frames, 6)),
        intrinsics=jnp.zeros((sizes.cameras, 4)),
    )
    return Scene(params, jnp.arange(capacity) < count, jnp.full((capacity,), BACKGROUND, jnp.int32))


def _join(x: Array, y: Array) -> Array:
    return jnp.concatenate([x, y])


def with_actors(
    scene: Scene,
    tracks: Tracks,
    points: PointCloud,
    actor: Int[Array, "M"],
    *,
    opacity: float = 0.5,
) -> Scene:
    """Add `tracks.slots` slots for actors to a scene without actors, and place a Gaussian at each point.

    Args:
        scene: the background.
        tracks: the boxes of the actors.
        points: of all actors, in object frames, float32 on the device.
        actor: index of the actor of each point.
        opacity: initial opacity.

    Raises:
        ValueError: more points than slots.
    """
    start = scene.params
    sizes = SceneSizes(tracks.slots, sh_degree=int(start.gaussians.sh.shape[1] ** 0.5) - 1)
    own = init_scene(jax.random.key(0), points, sizes, opacity=opacity)
    gaussians = jax.tree.map(_join, start.gaussians, own.params.gaussians)
    node = jnp.zeros(tracks.slots, jnp.int32).at[: len(actor)].set(actor.astype(jnp.int32)) + 1
    params = start.replace(gaussians=gaussians, actors=identity_motion(tracks))
    return scene.replace(
        params=params, alive=_join(scene.alive, own.alive), node=_join(scene.node, node), tracks=tracks
    )


def with_ground(scene: Scene, points: PointCloud, slots: int, *, opacity: float = 0.5) -> Scene:
    """Put `slots` slots of the ground before those of a scene, and place a Gaussian at each point.

    Args:
        scene: the background, without actors.
        points: of the road, world, float32 on the device.
        slots: their number never changes; those without a point stay unused.
        opacity: initial opacity.

    Raises:
        ValueError: more points than slots.
    """
    sizes = SceneSizes(slots, sh_degree=int(scene.params.gaussians.sh.shape[1] ** 0.5) - 1)
    own = init_scene(jax.random.key(0), points, sizes, opacity=opacity)
    gaussians = jax.tree.map(_join, own.params.gaussians, scene.params.gaussians)
    params = scene.params.replace(gaussians=gaussians)
    alive, node = _join(own.alive, scene.alive), _join(own.node, scene.node)
    return scene.replace(params=params, alive=alive, node=node, num_ground=slots)


def freeze_ground(scene: Scene, params: SceneParams) -> SceneParams:
    """Give the ground of updated parameters the positions that it has in `scene`."""
    if not scene.num_ground:
        return params
    rows = slice(scene.num_ground)
    means = params.gaussians.means.at[rows].set(scene.params.gaussians.means[rows])
    return params.replace(gaussians=params.gaussians.replace(means=means))


def compose(scene: Scene, time: Float[Array, ""]) -> WorldGaussians:
    """Move all Gaussians to the world frame at `time` (seconds); the static background does not move."""
    gaussians = scene.params.gaussians
    if scene.tracks is None or scene.params.actors is None:
        return WorldGaussians(gaussians, scene.alive, None)
    first = scene.num_static
    poses = poses_at(scene.tracks, scene.params.actors, time)
    fixed, own = _parts_at(scene, time)
    moved, is_present, axes = to_world(own, scene.node[first:] - 1, poses)
    alive = _join(scene.alive[:first], scene.alive[first:] & is_present)
    world = jnp.broadcast_to(jnp.eye(3), (first, 3, 3))
    return WorldGaussians(jax.tree.map(_join, fixed, moved), alive, _join(world, axes))


def shapes_at(scene: Scene, time: Float[Array, ""]) -> Gaussians:
    """Deform actors to their shapes at `time` (seconds); all Gaussians stay in the frames of their nodes."""
    if scene.tracks is None or scene.params.actors is None:
        return scene.params.gaussians
    return jax.tree.map(_join, *_parts_at(scene, time))


def _parts_at(scene: Scene, time: Float[Array, ""]) -> tuple[Gaussians, Gaussians]:
    """Split Gaussians into the static ones and those of actors in their shapes at `time`, in object frames."""
    tracks, params, first = scene.tracks, scene.params.actors, scene.num_static
    assert tracks is not None and params is not None
    static, own = (
        jax.tree.map(lambda x, part=part: x[part], scene.params.gaussians)
        for part in (slice(first), slice(first, None))
    )
    if params.soft is not None:
        share = (time - tracks.times[0]) / (tracks.times[-1] - tracks.times[0])
        own = deform(own, scene.node[first:] - 1, params.soft, tracks.soft, tracks.sizes, share)
    return static, own


def refined_camera(params: SceneParams, view: View) -> Camera:
    """Apply the optimized pose and intrinsics corrections of recorded images to the view's camera."""
    delta = jnp.where(view.frame >= 0, params.poses[view.frame], 0.0)
    intrinsics = jnp.where(view.rig >= 0, params.intrinsics[view.rig], 0.0)
    fx, fy = jnp.exp(intrinsics[0]), jnp.exp(intrinsics[1])
    K = view.camera.K.at[0, 0].multiply(fx).at[1, 1].multiply(fy)
    K = K.at[0, 2].add(intrinsics[2]).at[1, 2].add(intrinsics[3])
    return view.camera.replace(K=K, camera_from_world=apply_delta(delta, view.camera.camera_from_world))


def exposure_of(params: SceneParams, view: View) -> Float[Array, "3 4"]:
    """Interpolate the exposure of a view, as its difference from the identity."""
    before, after = params.exposure[view.exposure], params.exposure[view.exposure_after]
    return (1 - view.share_after) * before + view.share_after * after


def render_scene(model: SceneModel, view: View, mean2d_offset: Float[Array, "N 2"] | None = None) -> RenderedScene:
    """Render a scene: Gaussians over the sky, then the view's exposure; `mean2d_offset` as in `render`."""
    params = model.scene.params
    sky = sky_color(params.sky, ray_directions(refined_camera(params, view)))
    out = render(model.render_input(view), background=sky, mean2d_offset=mean2d_offset)
    rgb = apply_exposure(out.rgb, exposure_of(params, view))
    return RenderedScene(rgb, out.rgb, out.depth, out.alpha, sky, out.num_intersections, out.num_sent)
