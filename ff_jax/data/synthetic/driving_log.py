"""The built-in street (`ff_jax.data.synthetic`) as a driving log with ground truth beside the lane.

Nothing is rendered when the log is made: images, masks and LiDAR sweeps are computed when they are loaded,
and the last of them stay in memory: an image and its masks come from one rendering, and initial points, actors
and depths are taken from the same sweeps.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Box, Frame, Lane, SceneData, Sweep, moving_tracks
from ff_jax.data.synthetic import LidarPattern, World, WorldConfig, lanes, lidar_sweep, make_world, render_world
from ff_jax.data.synthetic import boxes as world_boxes
from ff_jax.data.synthetic.camera_rig import rig_camera
from ff_jax.data.synthetic.edits import moment
from ff_jax.render.camera import Camera, make_camera
from ff_jax.render.trajectories import shift_laterally

KEPT_BYTES = 1 << 28  # of rendered images and masks, and as many of sweeps

_render = jax.jit(render_world, static_argnames=("samples",))
_sweep = jax.jit(lidar_sweep, static_argnames=("pattern",))
_all_boxes = jax.jit(jax.vmap(world_boxes, (None, 0)))

View = tuple[np.ndarray, np.ndarray, np.ndarray]  # rgb uint8, sky, instance
Views = Callable[[int, tuple[float, ...]], View]  # of time index and world_from_camera, row by row


def world_scene(
    seed: int,
    config: WorldConfig | None = None,
    width: int = 640,
    height: int = 384,
    cameras: tuple[str, ...] = ("front",),
    *,
    test_shifts: tuple[float, ...] = (),
    lidar: bool = True,
    pattern: LidarPattern | None = None,
    samples: int = 2,
    change: Callable[[World], World] = lambda world: world,
) -> SceneData:
    """Return the log of a drive through the street of `seed`; everything is rendered when it is loaded.

    Images have 8 bits per channel and a sky mask; where something moves they also have a dynamic mask.

    Args:
        seed: which street.
        config: the street and the drive; its `exposure_drift` makes the brightness change over time.
        width: of the images, pixels.
        height: of the images, pixels.
        cameras: names of cameras of the rig.
        test_shifts: metres to the left; every camera also gives test frames at each shift but 0.
        lidar: whether the log has LiDAR.
        pattern: of the LiDAR; None takes the default one.
        samples: rays per pixel along either axis.
        change: edits the street (see `world.edits`).

    Raises:
        ValueError: there is no camera, one does not exist, or the image size is not positive.
    """
    if width < 1 or height < 1 or not cameras:
        raise ValueError(f"{width=}, {height=}, {cameras=}: give a positive size and at least one camera.")
    config = config or WorldConfig()
    world = change(make_world(seed, config))
    scene = SceneData(
        name=f"street-{seed}",
        source=f"built-in street, seed {seed}",
        licence="made by this program",
        times=np.asarray(world.times, float),
        world_from_ego=np.asarray(world.world_from_ego, float),
        frames=(),
        sweeps=_sweeps(world, seed, pattern or LidarPattern()) if lidar else (),
        boxes=_boxes(world),
        lanes=tuple(Lane(kind, np.asarray(points, float)) for kind, points in lanes(world)),
    )
    moving = np.array(sorted(map(int, moving_tracks(scene))), int)
    views = _views(world, rig_camera(world, 0, cameras[0], width, height), samples)
    frames = [
        _frame(scene, views, moving, name, i, shift, rig_camera(world, i, name, width, height))
        for shift in (0.0, *(shift for shift in test_shifts if shift != 0))
        for i in range(len(scene.times))
        for name in cameras
    ]
    if not config.exposure_drift:
        frames = [replace(frame, exposure_id=0) for frame in frames]
    return replace(scene, frames=tuple(frames))


def _frame(
    scene: SceneData,
    views: Views,
    moving: Int[np.ndarray, "m"],
    name: str,
    time_index: int,
    shift: float,
    camera: Camera,
) -> Frame:
    """Return a frame of `camera` after moving it `shift` metres to the left; `moving` holds track ids."""
    pose = np.asarray(camera.world_from_camera, float)
    pose = shift_laterally(pose, scene.world_from_ego[time_index], shift)
    place = f"{scene.name}/{name}/{time_index}" + (f"/{shift:+g}m" if shift else "")
    view = partial(views, time_index, tuple(pose.ravel().tolist()))
    masks = {"sky": Source(f"{place}/sky", lambda: view()[1].astype(np.float32))}
    if len(moving):
        masks["dynamic"] = Source(f"{place}/dynamic", lambda: np.isin(view()[2], moving).astype(np.float32))
    return Frame(
        camera=name,
        time_index=time_index,
        time=float(scene.times[time_index]),
        K=np.asarray(camera.K, float),
        world_from_camera=pose,
        width=camera.width,
        height=camera.height,
        image=Source(place, lambda: view()[0].astype(np.float32) / np.float32(255)),
        exposure_id=time_index,
        split="test" if shift else "train",
        masks=masks,
    )


def _views(world: World, camera: Camera, samples: int) -> Views:
    """Return a function that renders what `camera` sees from other poses and keeps the last views."""

    @lru_cache(maxsize=max(2, KEPT_BYTES // (camera.width * camera.height * 8)))
    def view(time_index: int, world_from_camera: tuple[float, ...]) -> View:
        moved = make_camera(camera.K, np.reshape(world_from_camera, (4, 4)), camera.width, camera.height)
        seen = _render(moment(world, time_index), moved, world.times[time_index], samples=samples)
        rgb = np.rint(np.clip(np.asarray(seen.rgb), 0, 1) * 255).astype(np.uint8)
        return rgb, np.asarray(seen.sky), np.asarray(seen.instance)

    return view


def _sweeps(world: World, seed: int, pattern: LidarPattern) -> tuple[Sweep, ...]:
    mount = np.eye(4)
    mount[:3, 3] = pattern.mount

    @lru_cache(maxsize=max(2, KEPT_BYTES // (pattern.beams * pattern.azimuths * 16)))
    def points(time_index: int) -> Float32[np.ndarray, "N 4"]:
        key = jax.random.fold_in(jax.random.key(seed), time_index)
        sweep = _sweep(key, moment(world, time_index), 0, pattern=pattern)
        rows = np.concatenate([sweep.points, sweep.intensity[:, None]], 1)
        rows = rows[np.asarray(sweep.valid)].astype(np.float32)
        rows.flags.writeable = False  # all callers share it
        return rows

    poses = np.asarray(world.world_from_ego, float) @ mount
    return tuple(
        Sweep(i, pose, Source(f"street-{seed}/lidar/{i}", lambda i=i: points(i))) for i, pose in enumerate(poses)
    )


def _boxes(world: World) -> tuple[Box, ...]:
    seen = jax.tree.map(np.asarray, _all_boxes(world, jnp.arange(len(world.times))))
    return tuple(
        Box(
            track_id=str(seen.track_id[i, k]),
            category="vehicle",
            time_index=int(i),
            world_from_object=seen.world_from_object[i, k].astype(float),
            size=seen.size[i, k].astype(float),
        )
        for i, k in np.argwhere(seen.valid)
    )
