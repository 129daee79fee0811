"""How fast pictures come, and how large they are drawn while things move."""

import time
from collections import deque

from ff_jax.scene.scene import View
from ff_jax.viewer.session import Look, Session


class Pace:
    """Halves the picture's sides while things move, if whole ones come too slowly."""

    def __init__(self, wanted: float | int = 15.0):
        """Aim at `wanted` frames a second."""
        self.wanted, self._seconds = wanted, deque(maxlen=5)

    def done(self, seconds: float) -> None:
        """Note how long a whole picture took."""
        self._seconds.append(seconds)

    def divisor(self, moving: bool) -> int:
        """Return by what to divide the sides of the next picture.

        The fastest of the last pictures counts: others may have waited for a compilation.
        """
        return 2 if moving and self._seconds and min(self._seconds) * self.wanted > 1 else 1


def frame_rate(session: Session, look: Look, views: list[View]) -> float:
    """Return how many pictures a second reach the host; the first is drawn once before, to compile."""
    for view in views[:1] + views[-1:]:
        session.picture(look, view)
    start = time.perf_counter()
    for view in views:
        session.picture(look, view)
    return len(views) / (time.perf_counter() - start)
