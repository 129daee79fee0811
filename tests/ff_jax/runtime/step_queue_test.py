"""A loop waits for the device before it runs ahead of it."""

import inspect

from ff_jax.runtime.step_queue import StepQueue


class Result:
    """A result that is computed once it is waited for."""

    waiting = 0

    def __init__(self):
        Result.waiting += 1

    def block_until_ready(self):
        Result.waiting -= 1


def test_no_more_than_the_limit_of_results_is_not_computed():
    queue, counts, add = StepQueue(2), [], inspect.unwrap(StepQueue.add)  # its annotations are checked in tests
    for _ in range(6):
        add(queue, Result())
        counts.append(Result.waiting)
    assert counts == [1, 2, 2, 2, 2, 2]
