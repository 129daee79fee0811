"""Look at a run: what is shown (`Look`), from where (`path`), and the picture of it (`Session`). No browser here."""

from ff_jax.viewer.camera_path import RecordedPath, frame_size, pose_at, recorded_path, square_size, view_at
from ff_jax.viewer.frame_rate import Pace, frame_rate
from ff_jax.viewer.layers import LAYERS, Scales, captioned, legend
from ff_jax.viewer.page import Page
from ff_jax.viewer.run_reader import AFTER, BEFORE, RunReader
from ff_jax.viewer.session import Edits, Look, Session

__all__ = [
    "AFTER",
    "BEFORE",
    "LAYERS",
    "Edits",
    "Look",
    "Pace",
    "Page",
    "RecordedPath",
    "RunReader",
    "Scales",
    "Session",
    "captioned",
    "frame_rate",
    "frame_size",
    "legend",
    "pose_at",
    "recorded_path",
    "square_size",
    "view_at",
]
