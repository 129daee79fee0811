"""One thread that renders, with a bounded number of jobs that wait for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from ff_jax.simulation.errors import RequestError

R = TypeVar("R")


class RenderThread:
    """Runs jobs one after the other: a device renders one image at a time, and scenes are not shared by threads."""

    def __init__(self, waiting: int):
        """Start with room for `waiting` jobs, the running one included."""
        self._thread, self._places = ThreadPoolExecutor(1, "render"), BoundedSemaphore(waiting)

    def submit(self, job: Callable[[], R]) -> Future[R]:
        """Queue a job; a future that is cancelled before its turn costs nothing.

        Raises:
            RequestError: too many jobs wait.
        """
        if not self._places.acquire(blocking=False):
            raise RequestError("too many images wait to be rendered: try again later.", "RESOURCE_EXHAUSTED")
        future = self._thread.submit(job)
        future.add_done_callback(lambda _: self._places.release())
        return future

    def stop(self) -> None:
        """Drop the jobs that wait, and end the thread after the running one."""
        self._thread.shutdown(wait=True, cancel_futures=True)
