"""Write USDZ packages: a USD layer and other files, stored without compression, in a ZIP archive.

The content of every member begins at a multiple of 64 bytes, and the layer comes first. Source: the USDZ specification
of OpenUSD, whose own writer is used.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.export.formats import usd
from ff_jax.export.formats.nodes import SceneNode
from ff_jax.runtime.atomic_files import atomic_write

LAYER = "scene.usdc"
MAX_BYTES = (1 << 32) - (1 << 20)  # offsets in the archive have 32 bits


def write_package(
    path: str | Path,
    nodes: Sequence[SceneNode],
    members: Mapping[str, str | bytes],
    comments: Sequence[str] = (),
    placement: Float[np.ndarray, "4 4"] | None = None,
) -> None:
    """Write nodes and other files, atomically.

    Args:
        path: of the package, which ends with `.usdz`.
        nodes: of the layer `scene.usdc`.
        members: text or bytes by the names of the other files.
        comments: lines of the comment of the layer.
        placement: from the world to the coordinates of the package, rigid; None: the identity.

    Raises:
        ValueError: the layer has 4 GB or more.
        MissingPackageError: the package usd-core is missing.
        DiskFullError: the disk is full.
    """
    writer = usd.pxr_module("Sdf").ZipFileWriter
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as temporary:
        usd.write(Path(folder) / LAYER, nodes, comments, placement)
        size = (Path(folder) / LAYER).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"the scene has {size} bytes: expected less than 4 GB in a USDZ package.")
        archive = writer.CreateNew(str(temporary))
        archive.AddFile(str(Path(folder) / LAYER), LAYER)
        for index, (name, content) in enumerate(members.items()):
            file = Path(folder) / f"member{index}{Path(name).suffix}"
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            archive.AddFile(str(file), name)
        archive.Save()
