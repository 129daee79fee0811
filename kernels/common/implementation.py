"""Choice of the implementation of an op."""

import jax

IMPLEMENTATIONS = ("reference", "xla", "pallas", "mosaic")


def choose_implementation(implementation: str | None) -> str:
    """Choose the implementation to run: the given one, or for None `pallas` on a GPU and `xla` elsewhere.

    `pallas` compiles the kernels with Triton. `mosaic` compiles the same tile walks with Mosaic GPU (Hopper and newer)
    and runs all other ops as `xla`. docs/benchmarks.md compares their speed.

    Raises:
        ValueError: if the implementation is unknown.
    """
    if implementation is None:
        return "pallas" if jax.default_backend() == "gpu" else "xla"
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"invalid {implementation=}: expected one of {IMPLEMENTATIONS}, or None for the default")
    return implementation
