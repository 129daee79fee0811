"""What XLA is told before JAX starts."""

import glob
import os

import jax

# On CPUs jaxlib 0.11 takes minutes to compile the training step of the demo after it has folded constants, and
# seconds without (docs/benchmarks.md). Older releases compile as fast with it.
_NO_FOLDING = "--xla_disable_hlo_passes=constant_folding"
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*")


def set_flags() -> None:
    """Add to XLA_FLAGS what this machine needs; call it before the first use of a device. Flags that are given win."""
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu" or not any(map(glob.glob, _ACCELERATORS))
    if only_cpu and jax.__version_info__ >= (0, 11):
        os.environ["XLA_FLAGS"] = f"{_NO_FOLDING} {os.environ.get('XLA_FLAGS', '')}".strip()
