"""One sentence for a device, or a machine, whose memory does not suffice."""

import re
from collections import Counter

import jax

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory could not be had."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def explain(error: Exception) -> str:
    """Return which buffer could not be had, what holds the memory, and which settings to lower."""
    wanted = wanted_bytes(str(error))
    buffer = f"a buffer of {as_size(wanted)}" if wanted else "a buffer"
    place = "this machine" if isinstance(error, MemoryError) else _device()
    return (
        f"{buffer} did not fit into the memory of {place}{_held()}: lower recon.budget (Gaussians, and what the "
        "optimizer keeps of them), pool (pseudo-views), data.width or data.frames, and start in another folder."
    )


def wanted_bytes(text: str) -> int | None:
    """Return the size of the buffer that an allocator's message names; None if it names none."""
    found = re.search(r"allocat\w+ ([\d.]+) ?([KMGT]?)i?(?:B|bytes)", text)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def as_size(count: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    unit = next(u for u in ("T", "G", "M", "K", "") if count >= _UNITS[u] or not u)
    return f"{count / _UNITS[unit]:.3g} {unit}{'iB' if unit else 'bytes'}"


def _device() -> str:
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return f"{device.device_kind}" + (f" ({as_size(limit)} for JAX)" if limit else "")


def _held(most: int = 3) -> str:
    """Return the kinds of arrays that hold most, in brackets; every kind is a type and a shape."""
    kinds = Counter()
    for array in jax.live_arrays():
        kinds[f"{array.dtype}{list(array.shape)}".replace(" ", "")] += array.nbytes
    largest = [f"{kind} {as_size(size)}" for kind, size in kinds.most_common(most) if size > 1 << 20]
    return f" (most is held by {', '.join(largest)})" if largest else ""
