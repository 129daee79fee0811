"""Settings with which tests compile quickly."""

import functools

ONE_PART = "--xla_cpu_parallel_codegen_split_count=1"


def share_context() -> None:
    """Use one compiler context for all programs: a new one takes half of the time of a tiny program."""
    from jax._src.interpreters import mlir

    if hasattr(mlir, "make_ir_context"):  # an internal of JAX; without it tests only take longer
        mlir.make_ir_context = functools.cache(mlir.make_ir_context)
