"""Random inputs of tests, which repeat: by the option --seed, the test, and the number of generators in it."""

import os
from collections import Counter

import numpy as np

SEED = "FF_TEST_SEED"  # variable with the seed of the session; workers and child processes get it
_num_made = Counter()


def seeded_rng() -> np.random.Generator:
    """Make the next generator of the running test (or of the collection): a failure repeats, whatever ran before."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "collection").rsplit(" ", 1)[0]
    _num_made[test] += 1
    return np.random.default_rng([int(os.environ[SEED]), _num_made[test], *test.encode()])
