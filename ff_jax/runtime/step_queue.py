"""A bound on the steps of a training that the device has not finished.

JAX returns before a result is computed, so a loop runs ahead of the device, by tens of steps. Progress lines then count
steps that are not done, and a signal takes effect after all of them.
"""

from collections import deque

from jax import Array

LIMIT = 3  # enough that the device never waits for the host


class StepQueue:
    """Results of steps, oldest first."""

    def __init__(self, limit: int = LIMIT):
        """Make an empty queue of at most `limit` results."""
        self._limit, self._results = limit, deque[Array]()

    def add(self, result: Array) -> None:
        """Add a result of a step; if there are too many, wait until the oldest is computed."""
        self._results.append(result)
        if len(self._results) > self._limit:
            self._results.popleft().block_until_ready()
