"""Kernels of the renderer: a leaf library that imports jax, numpy and jaxtyping only.

One folder per op, with the same files in each: `api` (the one function to call), `reference` (its
specification in plain jnp), `xla` (the CPU and TPU form), `pallas_gpu` (the kernels), `config` (block sizes)
and `specs` (the shapes that tests and benchmarks share).
"""

from kernels.bin_tiles.config import default_tile

__all__ = ["default_tile"]
