"""Which implementation of an op runs, and whether a Pallas kernel is interpreted."""

import jax

NAMES = ("reference", "xla", "pallas", "mosaic")


def choose(implementation: str | None) -> str:
    """Return the implementation to run: the one named, or for None `pallas` on a GPU and `xla` elsewhere.

    `pallas` compiles the kernels through Triton, `mosaic` the same walks through Mosaic GPU (Hopper and newer); what
    is no walk runs as `xla` then. Which of them is faster was measured: docs/benchmarks.md.

    Raises:
        ValueError: for any other name.
    """
    if implementation is None:
        return "pallas" if jax.default_backend() == "gpu" else "xla"
    if implementation not in NAMES:
        raise ValueError(f"{implementation=} is unknown: use one of {NAMES}, or None to let the device decide")
    return implementation
