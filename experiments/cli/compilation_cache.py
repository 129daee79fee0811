"""Keep compiled programs between runs, in the cache folder of the user."""

import hashlib
import os
import platform
from pathlib import Path

import jax

MAX_BYTES = 2 << 30  # the programs that were not used for the longest time are removed beyond it
MIN_SECONDS = 0.05  # of a compilation that is worth a file: a job has hundreds of short ones


def keep_programs() -> None:
    """Let JAX store compiled programs in ~/.cache/faithfusion (XDG_CACHE_HOME), and read them in later runs.

    JAX's own settings win: JAX_COMPILATION_CACHE_DIR is another folder, JAX_ENABLE_COMPILATION_CACHE=false turns it
    off. A folder that cannot be written is not used.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "faithfusion" / f"jax-{jax.__version__}-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)


def _processor() -> str:
    """Identify the kind of processor: computers that share a home folder may not be able to run each other's code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    kind = "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return hashlib.sha256((kind or platform.processor() or platform.machine()).encode()).hexdigest()[:12]
