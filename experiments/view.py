"""View a run in the browser, finished or still training: free camera, lane shift, EIG, before and after.

python -m experiments.view --run=runs/demo                 # then open http://127.0.0.1:8080
python -m experiments.view --run=runs/demo --frames=100    # no browser: frames per second of each layer
"""

import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.viewer import (
    LAYERS,
    Guard,
    Page,
    RunReader,
    Session,
    ViewerState,
    measure_frame_rate,
    pose_at,
    recorded_path,
    square_size,
    view_at,
)

_RUN = flags.DEFINE_string("run", None, "Folder of a run.", required=True)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to serve on; 0.0.0.0 allows access from other machines.")
_PORT = flags.DEFINE_integer("port", 8080, "Port to serve on.", lower_bound=0, upper_bound=65_535)
_ORIGINS = flags.DEFINE_list("origins", [], "Hosts whose pages may also connect, such as that of a proxy.")
_WIDTH = flags.DEFINE_integer(
    "width",
    0,
    "Longest side of images, pixels; 0: 1280, or as recorded without a GPU.",
    lower_bound=0,
    upper_bound=16_384,
)
_FRAMES = flags.DEFINE_integer(
    "frames",
    0,
    "Only measure the time of this many frames of each layer along the path.",
    lower_bound=0,
    upper_bound=100_000,
)


def wait_for_checkpoint(reader: RunReader) -> None:
    """Wait until a run has written a checkpoint."""
    if not reader.newest_checkpoints():
        print(f"{reader.workdir} holds no checkpoint yet; waiting for the first.", flush=True)
    while not reader.newest_checkpoints():
        time.sleep(1)


def time_layers(session: Session, side: int, count: int) -> None:
    """Print the frame rate of each layer along the path."""
    path, version = recorded_path(session.reader.recording), list(session.versions)[-1]
    size = square_size(side, path.aspect)
    times = np.linspace(path.times[0], path.times[-1], count)
    views = [view_at(path, pose_at(path, float(t)), float(t), path.fov, path.aspect, size) for t in times]
    alive = int(session.versions[version].model.scene.alive.sum())
    print(f"{version}, {alive} Gaussians, {size[0]} x {size[1]} pixels, {jax.devices()[0].device_kind}")
    for layer in LAYERS:
        rate = measure_frame_rate(session, ViewerState(layer, version), views)
        print(f"{layer:>10} {rate:8.1f} frames/s", flush=True)


def serve(session: Session, side: int) -> None:
    """Serve the page until interrupted."""
    try:
        import viser  # an optional dependency
    except ImportError:
        raise ValueError("the viewer needs the package viser: pip install viser.") from None
    server = viser.ViserServer(_HOST.value, _PORT.value, verbose=False)
    Guard(server, _ORIGINS.value)
    page = Page(server, session, side)
    print(f"serving {_RUN.value} on http://{_HOST.value}:{server.get_port()}", flush=True)
    try:
        page.serve()
    finally:
        server.stop()


def main(_: list[str]) -> None:
    """Serve the viewer, or measure its frame rate."""
    reader = command_line.open_run(Path(_RUN.value))
    wait_for_checkpoint(reader)
    session = Session(reader)
    side = _WIDTH.value or (max(reader.recording.image_size) if jax.default_backend() == "cpu" else 1280)
    if _FRAMES.value:
        time_layers(session, side, _FRAMES.value)
    else:
        serve(session, side)


if __name__ == "__main__":
    command_line.run(main)
