"""Names of files: their natural order, and names of other systems."""

import re
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # of the images of a log, in lower case


def natural_key(name: str | Path) -> tuple[tuple[str | int, ...], str]:
    """Make the key that sorts names by the numbers in them: frame_2 before frame_10."""
    # Text and numbers alternate, and the first one is text, so two keys compare part by part.
    parts = re.split(r"(\d+)", str(name))
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), str(name)


def portable(name: str) -> str:
    """Normalize a path that a file of a log holds: slashes, and no `./`; one file has one name then."""
    parts = [part for part in name.strip().replace("\\", "/").split("/") if part != "."]
    return "/".join(part for i, part in enumerate(parts) if part or i == 0)
