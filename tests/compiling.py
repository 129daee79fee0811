"""How tests compile: quickly."""

import functools

ONE_PART = "--xla_cpu_parallel_codegen_split_count=1"


def share_context() -> None:
    """Write all programs into one context of the compiler instead of a new one each: half of what a tiny one takes."""
    from jax._src.interpreters import mlir

    if hasattr(mlir, "make_ir_context"):  # internal to JAX: without it tests take longer
        mlir.make_ir_context = functools.cache(mlir.make_ir_context)
