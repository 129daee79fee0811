"""The synthetic street (`ff_jax.data.synthetic`) as a driving log with ground truth beside the lane.

Making the log renders nothing: images, masks and LiDAR sweeps are computed on load. The last ones used stay in memory,
because an image and its masks come from one rendering, and initial points, actors and depths share the sweeps.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Box, Frame, Lane, LidarSweep, SceneData, moving_tracks
from ff_jax.data.synthetic import (
    LidarPattern,
    Street,
    StreetConfig,
    lane_map,
    make_street,
    render_street,
    simulate_lidar,
    vehicle_boxes,
)
from ff_jax.data.synthetic.camera_rig import rig_camera
from ff_jax.data.synthetic.edits import single_frame
from ff_jax.render.camera import Camera, make_camera
from ff_jax.render.trajectories import shift_laterally

CACHE_BYTES = 1 << 28  # of rendered images and masks, and as many of sweeps
DEFAULT_LIDAR = LidarPattern()

_render = jax.jit(render_street, static_argnames=("samples",))
_simulate_lidar = jax.jit(simulate_lidar, static_argnames=("pattern",))
_all_boxes = jax.jit(jax.vmap(vehicle_boxes, (None, 0)))


class Rendering(NamedTuple):
    """One rendered frame, as a log stores it."""

    rgb: UInt8[np.ndarray, "H W 3"]
    sky: Bool[np.ndarray, "H W"]
    instance: Int[np.ndarray, "H W"]  # track id; 0: none


Renderings = Callable[[int, tuple[float, ...]], Rendering]  # of time index and world_from_camera, row by row


def street_log(
    seed: int,
    config: StreetConfig | None = None,
    width: int = 640,
    height: int = 384,
    cameras: tuple[str, ...] = ("front",),
    *,
    test_shifts: tuple[float, ...] = (),
    lidar: LidarPattern | None = DEFAULT_LIDAR,
    edit: Callable[[Street], Street] | None = None,
) -> SceneData:
    """Build the log of a drive through the street of `seed`; everything is rendered on load.

    Images have 8 bits per channel and a sky mask; where something moves they also have a dynamic mask.

    Args:
        seed: which street.
        config: the street and the drive; its `exposure_drift` makes the brightness change over time.
        width: of the images, pixels.
        height: of the images, pixels.
        cameras: names of cameras of the rig.
        test_shifts: meters to the left; every camera also gives test frames at each shift but 0.
        lidar: scan pattern of the LiDAR; None makes a log without LiDAR.
        edit: changes the street first (see `synthetic.edits`).

    Raises:
        ValueError: there is no camera, one does not exist, or the image size is not positive.
    """
    if width < 1 or height < 1 or not cameras:
        raise ValueError(f"invalid {width=}, {height=}, {cameras=}: expected a positive size and at least one camera.")
    config = config or StreetConfig()
    street = make_street(seed, config)
    street = edit(street) if edit else street
    scene = SceneData(
        name=f"street-{seed}",
        source=f"synthetic street, seed {seed}",
        license="made by this program",
        times=np.asarray(street.times, float),
        world_from_ego=np.asarray(street.world_from_ego, float),
        frames=(),
        sweeps=_sweeps(street, seed, lidar) if lidar else (),
        boxes=_boxes(street),
        lanes=tuple(Lane(kind, np.asarray(points, float)) for kind, points in lane_map(street)),
    )
    moving = np.array(sorted(map(int, moving_tracks(scene))), int)
    renderings = _renderings(street, rig_camera(street, 0, cameras[0], width, height), config.samples)
    frames = [
        _frame(scene, renderings, moving, name, i, shift, rig_camera(street, i, name, width, height))
        for shift in (0.0, *(shift for shift in test_shifts if shift != 0))
        for i in range(len(scene.times))
        for name in cameras
    ]
    if not config.exposure_drift:
        frames = [replace(frame, exposure_id=0) for frame in frames]
    return replace(scene, frames=tuple(frames))


def _frame(
    scene: SceneData,
    renderings: Renderings,
    moving: Int[np.ndarray, "m"],
    name: str,
    time_index: int,
    shift: float,
    camera: Camera,
) -> Frame:
    """Build the frame of `camera` moved `shift` meters to the left; `moving` holds track ids."""
    pose = np.asarray(camera.world_from_camera, float)
    pose = shift_laterally(pose, scene.world_from_ego[time_index], shift)
    source = f"{scene.name}/{name}/{time_index}" + (f"/{shift:+g}m" if shift else "")
    render = partial(renderings, time_index, tuple(pose.ravel().tolist()))
    masks = {"sky": Source(f"{source}/sky", lambda: render().sky.astype(np.float32))}
    if len(moving):
        masks["dynamic"] = Source(f"{source}/dynamic", lambda: np.isin(render().instance, moving).astype(np.float32))
    return Frame(
        camera=name,
        time_index=time_index,
        time=float(scene.times[time_index]),
        K=np.asarray(camera.K, float),
        world_from_camera=pose,
        width=camera.width,
        height=camera.height,
        image=Source(source, lambda: render().rgb.astype(np.float32) / np.float32(255)),
        exposure_id=time_index,
        split="test" if shift else "train",
        masks=masks,
    )


def _renderings(street: Street, camera: Camera, samples: int) -> Renderings:
    """Make a function that renders `camera` from other poses and caches the last renderings."""

    @lru_cache(maxsize=max(2, CACHE_BYTES // (camera.width * camera.height * 8)))
    def render(time_index: int, world_from_camera: tuple[float, ...]) -> Rendering:
        shifted = make_camera(camera.K, np.reshape(world_from_camera, (4, 4)), camera.width, camera.height)
        view = _render(single_frame(street, time_index), shifted, street.times[time_index], samples=samples)
        rgb = np.rint(np.clip(np.asarray(view.rgb), 0, 1) * 255).astype(np.uint8)
        return Rendering(rgb, np.asarray(view.sky), np.asarray(view.instance))

    return render


def _sweeps(street: Street, seed: int, pattern: LidarPattern) -> tuple[LidarSweep, ...]:
    mount = np.eye(4)
    mount[:3, 3] = pattern.mount

    @lru_cache(maxsize=max(2, CACHE_BYTES // (pattern.beams * pattern.azimuths * 16)))
    def points(time_index: int) -> Float32[np.ndarray, "N 4"]:
        key = jax.random.fold_in(jax.random.key(seed), time_index)
        returns = _simulate_lidar(key, single_frame(street, time_index), 0, pattern=pattern)
        rows = np.concatenate([returns.points, returns.intensity[:, None]], 1)
        rows = rows[np.asarray(returns.valid)].astype(np.float32)
        rows.flags.writeable = False  # the cache gives all callers the same array
        return rows

    poses = np.asarray(street.world_from_ego, float) @ mount
    return tuple(
        LidarSweep(i, pose, Source(f"street-{seed}/lidar/{i}", partial(points, i))) for i, pose in enumerate(poses)
    )


def _boxes(street: Street) -> tuple[Box, ...]:
    labels = jax.tree.map(np.asarray, _all_boxes(street, jnp.arange(len(street.times))))
    return tuple(
        Box(
            track_id=str(labels.track_id[i, k]),
            category="vehicle",
            time_index=int(i),
            world_from_object=labels.world_from_object[i, k].astype(float),
            size=labels.size[i, k].astype(float),
        )
        for i, k in np.argwhere(labels.valid)
    )
