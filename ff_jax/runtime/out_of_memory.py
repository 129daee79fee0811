"""One sentence for a device, or a machine, whose memory does not suffice."""

import re
from collections import Counter

import jax

SCENE = (
    "lower recon.budget (Gaussians, and what the optimizer keeps of them), pool (pseudo-views), data.width or "
    "data.frames, and start in another folder"
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory could not be had."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def explain(error: Exception, remedy: str = SCENE) -> str:
    """Return which buffer could not be had, what holds the memory, and the `remedy`: which settings to lower."""
    wanted, largest = wanted_bytes(str(error)), largest_buffer(str(error))
    buffer = f"a buffer of {as_size(wanted)}" if wanted else "a buffer"
    part = f" (in it, or beside it, {largest})" if largest else ""
    place = "this machine" if isinstance(error, MemoryError) else _device()
    return f"{buffer}{part} did not fit into the memory of {place}{_held()}: {remedy}."


def wanted_bytes(text: str) -> int | None:
    """Return the size of the buffer that an allocator's message names; None if it names none."""
    found = re.search(r"(?:allocat\w+|reserve) (\d[\d.]*) ?([KMGT]?)(?:i?B|bytes|\b)", text)
    return round(float(found[1].rstrip(".")) * _UNITS[found[2]]) if found else None


def largest_buffer(text: str) -> str | None:
    """Return size, type, shape and operation of the largest buffer that XLA lists in a message; None without a list."""
    listed = re.findall(r"Buffer \d+:\s+Size: ([\d.]+)([KMGT]?)i?B\s+(.*?)={5,}", text, re.DOTALL)
    if not listed:
        return None
    number, unit, rest = max(listed, key=lambda entry: float(entry[0]) * _UNITS[entry[1]])
    shape, operation = re.search(r"[Ss]hape: (.+)", rest), re.search(r'op_name="([^"\[]+)', rest)
    size = as_size(round(float(number) * _UNITS[unit]))
    return f"{shape[1] if shape else 'a buffer'} of {operation[1] if operation else 'the arguments'}, {size}"


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
