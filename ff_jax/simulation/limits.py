"""Bounds of what one client may ask for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of requests; what exceeds them is refused before anything is computed.

    Attributes:
        pixels: of all images of one call; the answer must fit into the 64 MiB that clients accept, even as PNG.
        items: images of one call.
        objects: dynamic objects of one image.
        request_bytes: size of a message from a client.
        waiting: calls that wait for the render thread.
        sizes: image sizes that are compiled; a program is kept for each.
        intersections: tile intersections of one view, in proportion to the memory that it needs.
    """

    pixels: int = 20_000_000
    items: int = 64
    objects: int = 4096
    request_bytes: int = 8 << 20
    waiting: int = 64
    sizes: int = 32
    intersections: int = 1 << 27


DEFAULT_LIMITS = Limits()
