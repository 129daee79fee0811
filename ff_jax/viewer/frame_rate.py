"""Measure the frame rate, and control the size of images that are rendered while something moves."""

import time
from collections import deque

from ff_jax.scene import View
from ff_jax.viewer.session import Session, ViewerState


class FrameRateController:
    """Halves the sides of images while something moves, if whole images take too long."""

    def __init__(self, target_fps: float | int = 15.0):
        """Aim at `target_fps` frames per second."""
        self.target_fps, self._seconds = target_fps, deque(maxlen=5)

    def record(self, seconds: float) -> None:
        """Record the time that a whole image took."""
        self._seconds.append(seconds)

    def divisor(self, is_moving: bool) -> int:
        """Compute the number by which to divide the sides of the next image.

        The fastest of the last images counts: others may include a compilation.
        """
        return 2 if is_moving and self._seconds and min(self._seconds) * self.target_fps > 1 else 1


def measure_frame_rate(session: Session, state: ViewerState, views: list[View]) -> float:
    """Measure how many images per second reach the host, after a warm-up that compiles."""
    for view in views[:1] + views[-1:]:
        session.render(state, view)
    start = time.perf_counter()
    for view in views:
        session.render(state, view)
    return len(views) / (time.perf_counter() - start)
