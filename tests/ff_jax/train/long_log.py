"""Write a log of five cameras as a folder, or load its batches as training does and print the memory.

python -m tests.ff_jax.train.long_log write FOLDER STEPS WIDTH HEIGHT
python -m tests.ff_jax.train.long_log load FOLDER NUM_BATCHES CACHE_BYTES
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ff_jax.data.folder import write_folder
from ff_jax.data.formats.registry import open_source
from ff_jax.data.lazy_arrays import ImageFile, MaskFile, PointFile
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import OPENCV_FROM_EGO, Frame, LidarSweep, SceneData
from ff_jax.runtime.run_log import peak_memory
from ff_jax.train.batches import PREFETCH, TrainBatches, frame_at

CAMERAS = ("front", "front_left", "front_right", "left", "right")


def write(folder: Path, steps: int, width: int, height: int) -> None:
    """Write `steps` time steps of five cameras and a LiDAR; images are noise on a ramp."""
    rng, files = np.random.default_rng(0), folder.with_name(f"{folder.name}_files")
    files.mkdir(parents=True)
    for camera in CAMERAS:
        ramp = np.linspace(0, 200, width)[None, :, None] + rng.integers(0, 56, (height, width, 3))
        Image.fromarray(ramp.astype(np.uint8)).save(files / f"{camera}.jpg")
    Image.fromarray(np.uint8(np.arange(height) < height // 3)[:, None].repeat(width, 1) * 255).save(files / "sky.png")
    np.savez(files / "points.npz", xyz=rng.uniform([3, -20, -2], [60, 20, 4], (500, 3)).astype(np.float32))
    poses = np.tile(np.eye(4), (steps, 1, 1))
    poses[:, 0, 3] = np.arange(steps)
    frames = [frame(files, i, pose, turn, width, height) for i, pose in enumerate(poses) for turn in range(5)]
    sweeps = [LidarSweep(i, pose, PointFile(files / "points.npz")) for i, pose in enumerate(poses)]
    head = "long", "made in a test", "none", 0.1 * np.arange(steps), poses
    write_folder(SceneData(*head, tuple(frames), tuple(sweeps)), folder)


def frame(files: Path, step: int, pose: np.ndarray, turn: int, width: int, height: int) -> Frame:
    """Make the frame of camera `turn` at a time step."""
    angle, rotation = (0, 0.8, -0.8, 1.6, -1.6)[turn], np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    return Frame(
        camera=CAMERAS[turn],
        time_index=step,
        time=0.1 * step,
        K=K,
        world_from_camera=pose @ rotation @ np.linalg.inv(OPENCV_FROM_EGO),
        width=width,
        height=height,
        image=ImageFile(files / f"{CAMERAS[turn]}.jpg"),
        exposure_id=step,
        masks={"sky": MaskFile(files / "sky.png")},
    )


def load(folder: str, num_batches: int, cache_bytes: int) -> None:
    """Load the batches of the first training steps; print bytes of memory and milliseconds per batch."""
    before = peak_memory()["peak_host_bytes"]
    log = open_source(folder)
    batches, count = TrainBatches(Recording(log, log.frames), cache_bytes), len(log.frames)
    start = time.perf_counter()
    for step in range(num_batches):
        batches.batch(frame_at(0, step, count))
        batches.prefetch([frame_at(0, later, count) for later in range(step + 1, step + 1 + PREFETCH)])
    seconds = time.perf_counter() - start
    print(before, peak_memory()["peak_host_bytes"], round(1000 * seconds / num_batches, 1))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        load(sys.argv[2], *map(int, sys.argv[3:]))
