"""A tiny log on disk: three time steps, two cameras, LiDAR, a moving box, a lane, masks, sparse points."""

from pathlib import Path

import numpy as np
from PIL import Image

from ff_jax.data.lazy_arrays import ImageFile, MaskFile, PointFile
from ff_jax.data.scene_data import OPENCV_FROM_EGO, Box, Frame, Lane, LidarSweep, SceneData, SparsePoints

WIDTH, HEIGHT, STEPS = 24, 16, 3
K = np.array([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]])


def pose(x, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def make_scene(folder: Path, rng=None, distortion=None) -> SceneData:
    """Write the files of the log below `folder` and return it; camera "b" is 0.5 m to the right of "a"."""
    rng = rng or np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    frames = tuple(make_frame(folder, rng, camera, step, distortion) for step in range(STEPS) for camera in ("a", "b"))
    return SceneData(
        name="tiny",
        source="made in a test",
        license="none",
        times=np.array([0.0, 0.1, 0.2]),
        world_from_ego=np.stack([pose(step) for step in range(STEPS)]),
        frames=frames,
        sweeps=tuple(make_sweep(folder, rng, step) for step in range(STEPS)),
        boxes=tuple(Box("7", "vehicle", i, pose(10 + 2 * i), np.array([4.0, 2, 1.5]), 9) for i in range(STEPS)),
        lanes=(Lane("lane_line", np.array([[0.0, 1, 0], [9, 1, 0]])),),
        points=SparsePoints(rng.normal(size=(8, 3)).astype(np.float32) + np.array([8, 0, 0], np.float32)),
    )


def make_frame(folder, rng, camera, step, distortion=None):
    path, mask = folder / f"{camera}{step}.png", folder / f"{camera}{step}_sky.png"
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)).save(mask)
    world_from_camera = pose(step, 0.0 if camera == "a" else -0.5) @ np.linalg.inv(OPENCV_FROM_EGO)
    return Frame(
        camera=camera,
        time_index=step,
        time=0.1 * step,
        K=K.copy(),
        world_from_camera=world_from_camera,
        width=WIDTH,
        height=HEIGHT,
        image=ImageFile(path),
        distortion=distortion,
        exposure_id=step,
        split="train",
        masks={"sky": MaskFile(mask)},
    )


def make_sweep(folder, rng, step):
    path = folder / f"lidar{step}.npz"
    xyz = rng.uniform([3, -3, -1], [20, 3, 2], (60, 3)).astype(np.float32)
    np.savez(path, xyz=xyz, intensity=rng.random(60).astype(np.float32))
    return LidarSweep(step, pose(step, 0, 0.3), PointFile(path))
