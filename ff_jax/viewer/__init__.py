"""Interactive viewer: reads a run, renders its scenes as layers, and serves a page. The server package is not imported.

session = Session(RunReader(workdir, config, log))
path = recorded_path(session.reader.recording)
view = view_at(path, pose_at(path, time, shift=3.0), time, path.fov, path.aspect, (640, 480))
pixels = session.render(ViewerState(layer="EIG"), view)     # (480, 640, 3), uint8
"""

from ff_jax.pipeline.run_reader import RunReader, SceneVersion
from ff_jax.viewer.camera_path import RecordedPath, frame_size, pose_at, recorded_path, square_size, view_at
from ff_jax.viewer.frame_rate import FrameRateController, measure_frame_rate
from ff_jax.viewer.guard import Guard
from ff_jax.viewer.layers import LAYERS, Scales, legend, with_legend
from ff_jax.viewer.page import Page
from ff_jax.viewer.session import ActorEdits, Session, ViewerState

__all__ = [
    "LAYERS",
    "ActorEdits",
    "FrameRateController",
    "Guard",
    "Page",
    "RecordedPath",
    "RunReader",
    "Scales",
    "SceneVersion",
    "Session",
    "ViewerState",
    "frame_size",
    "legend",
    "measure_frame_rate",
    "pose_at",
    "recorded_path",
    "square_size",
    "view_at",
    "with_legend",
]
