"""Which implementation of an op runs, and whether a Pallas kernel is interpreted."""

from typing import Literal

import jax

Implementation = Literal["reference", "xla", "pallas"]
NAMES = ("reference", "xla", "pallas")


def choose(implementation: str | None) -> str:
    """Return the implementation to run: the one named, or for None `pallas` on a GPU and `xla` elsewhere.

    Raises:
        ValueError: for any other name.
    """
    if implementation is None:
        return "pallas" if jax.default_backend() == "gpu" else "xla"
    if implementation not in NAMES:
        raise ValueError(f"{implementation=} is unknown: use one of {NAMES}, or None to let the device decide")
    return implementation
