"""Share files, checkpoints, logs, locks and network weights between all programs; names are imported at first use.

atomic_files     write files atomically, explain a full disk
checkpoint       save and restore pytrees, bit for bit
divergence       find the step of a training that diverged
onnx_model       run ONNX networks (onnxruntime is optional)
out_of_memory    explain that memory does not suffice
resize           resize images for networks
run_lock         lock a run folder
run_log          metrics, environment and progress of a run
weight_files     find, download and read network weights
"""

import importlib
from typing import Any

_MODULES = {
    "atomic_files": ("DiskFullError", "atomic_write", "explain_full_disk"),
    "checkpoint": ("CheckpointError",),
    "divergence": ("DivergedError", "Replay", "StepInput", "count_nonfinite", "diagnose", "nonfinite_metrics"),
    "onnx_model": ("OnnxNetwork", "open_network"),
    "out_of_memory": ("is_out_of_memory",),
    "resize": ("resize_bilinear",),
    "run_lock": ("is_locked", "lock_run"),
    "run_log": ("Logger", "peak_memory", "progress", "read_metrics", "write_run_facts"),
    "weight_files": ("WeightsSource", "check_shapes", "locate_weights", "read_arrays"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # names are resolved by __getattr__


def __getattr__(name: str) -> Any:
    """Import a public name at first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; see `ff_jax.runtime.__all__`.")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
