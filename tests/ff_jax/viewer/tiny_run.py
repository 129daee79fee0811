"""Write a run without any training: the initial Gaussians as checkpoints of its phases."""

import dataclasses
import json
import threading
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from ff_jax.data.config import DataConfig
from ff_jax.data.folder import write_folder
from ff_jax.data.open import open_log
from ff_jax.eig import EigConfig
from ff_jax.pipeline.config import ActorConfig, FuseConfig, InitConfig, to_dict
from ff_jax.pipeline.initialize import initialize
from ff_jax.runtime import checkpoint
from ff_jax.train.config import ReconConfig
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.train.state import LoopState
from ff_jax.viewer import RunReader
from tests.ff_jax.data import tiny

SIZE = 48, 32
CONFIG = FuseConfig(
    steps=100,
    pseudo_view_capacity=2,
    schedule=ShiftSchedule(start=50),
    init=InitConfig(points=150, scale=0.3, random_share=0.0),
    actors=ActorConfig(slots=30, points=20),
    recon=dataclasses.replace(ReconConfig(), sh_degree=0, budget=160),
    eig=EigConfig(tau=0.05),
)


def make_log(folder: Path) -> FuseConfig:
    """Write a log with one actor and smooth images; return settings with its path."""
    log = tiny.make_scene(folder / "made", np.random.default_rng(0))
    for frame in log.frames:
        rows, columns = np.indices((tiny.HEIGHT, tiny.WIDTH))
        picture = np.stack([60 + 8 * rows, 200 - 5 * columns, 80 + 4 * columns], -1)
        Image.fromarray(picture.astype(np.uint8)).save(frame.image.path)
        Image.fromarray(np.where(rows < 5, 255, 0).astype(np.uint8)).save(frame.masks["sky"].path)
    write_folder(log, folder / "log")
    return dataclasses.replace(CONFIG, data=DataConfig(source=str(folder / "log"), width=0))


def make_reader(folder: Path, config: FuseConfig, *, fusing: bool = True) -> tuple[RunReader, LoopState, int]:
    """Write settings into `folder`; return its reader, an untrained state and the renderer's capacity."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    reader = RunReader(folder, config, open_log(config.data))
    pseudo_views = config.pseudo_view_capacity * fusing
    state, plan = initialize(reader.recording, config, pseudo_views=pseudo_views, steps=config.steps)
    return reader, state, plan.settings.capacity


def write(folder: Path, phase: str, step: int, state: LoopState, capacity: int, brightness: float = 0.0) -> LoopState:
    """Write a checkpoint with all colors raised by `brightness` and actors in opaque red; return its state."""
    scene = state.train.scene
    gaussians, actors = scene.params.gaussians, scene.node > 0
    sh = jnp.where(actors[:, None, None], jnp.array([3.0, -2.0, -2.0]), gaussians.sh + brightness)
    gaussians = gaussians.replace(sh=sh, logit_opacities=jnp.where(actors, 4.0, gaussians.logit_opacities))
    scene = scene.replace(params=scene.params.replace(gaussians=gaussians))
    state = state.replace(train=state.train.replace(scene=scene, step=jnp.int32(step)))
    checkpoint.save(folder / phase / "checkpoints", step, state, {"capacity": capacity}, keep=2)
    return state


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the mean absolute difference of two images in 8-bit levels."""
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def make_run(folder: str) -> None:
    """Write a run that is still training, and its next checkpoint into a phase called "later"."""
    root = Path(folder)
    _, state, capacity = make_reader(root, make_log(root))
    write(root, "recon", 50, state, capacity)
    write(root, "fused", 60, state, capacity, 0.4)
    write(root, "later", 80, state, capacity, 0.9)


def report_foreign_messages() -> None:
    """Print every message that another thread than the server's queues for a client (see `viewer.page`)."""
    from viser.infra._async_message_buffer import AsyncMessageBuffer

    push = AsyncMessageBuffer.push

    def report_and_push(buffer, message):
        if buffer.generator_cursors and threading.get_ident() != buffer.event_loop._thread_id:
            print("foreign message:", type(message).__name__, flush=True)
        push(buffer, message)

    AsyncMessageBuffer.push = report_and_push
