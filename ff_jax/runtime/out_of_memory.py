"""Explain that the memory of a device or of the host does not suffice."""

import re

import jax

SCENE_REMEDY = (
    "lower recon.budget (Gaussians, and what the optimizer keeps of them), pool (pseudo-views), data.width or "
    "data.frames, and start in another folder"
)


def is_out_of_memory(error: Exception) -> bool:
    """Check whether an error reports that an allocation failed."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def explain(error: Exception, remedy: str = SCENE_REMEDY) -> str:
    """Describe the failed allocation in one sentence that ends with the `remedy`: which settings to lower."""
    # The text of the message is no API: the size is left out where it is not found.
    size = re.search(r"(?:allocat\w+|reserve) (\d[\d.]*\d|\d) ?([KMGT]?i?(?:B|bytes)?)\b", str(error))
    amount = f" ({size[1]} {size[2]})".replace(" )", ")") if size else ""
    place = "this machine" if isinstance(error, MemoryError) else jax.local_devices()[0].device_kind
    return f"out of memory on {place}{amount}: {remedy}."
