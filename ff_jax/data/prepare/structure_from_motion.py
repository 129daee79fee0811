"""Structure from motion with known poses: initial points for logs without LiDAR (needs the package pycolmap).

COLMAP (Schoenberger and Frahm, CVPR 2016) detects SIFT features, matches them, keeps the matches that agree with the
motion between two images, and triangulates those with a sufficient angle. The camera poses of the log stay fixed.
"""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Frame, SceneData, SparsePoints, invert_rigid

MAX_STEPS = 6  # time steps between two matched images
MAX_ANGLE = np.deg2rad(60)  # between their optical axes


def with_sparse_points(scene: SceneData) -> SceneData:
    """Replace the sparse points of a log by points triangulated from its training images.

    Features on moving objects, and where an image is not valid, are left out.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: nothing could be triangulated.
    """
    colmap = import_colmap()
    frames = [frame for frame in scene.frames if frame.split == "train"]
    with tempfile.TemporaryDirectory() as folder:
        points = _triangulate(colmap, frames, Path(folder))
    if not points:
        raise ValueError(
            f"scene {scene.name!r}: no point could be triangulated from {len(frames)} training images; use images of "
            "the same objects from different positions, with correct poses."
        )
    xyz, rgb = np.stack([p.xyz for p in points]), np.stack([p.color for p in points]) / 255
    return replace(scene, points=SparsePoints(xyz, rgb))


def import_colmap() -> ModuleType:
    """Import pycolmap, and keep it quiet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError("points from images need the package pycolmap: install it (pip install pycolmap).") from error
    pycolmap.logging.minloglevel = int(pycolmap.logging.ERROR.value)
    return pycolmap


def _triangulate(colmap: ModuleType, frames: Sequence[Frame], folder: Path) -> list:
    names, database, cpu = [f"{i:06d}.png" for i in range(len(frames))], folder / "database.db", colmap.Device.cpu
    _write_images(frames, names, folder)
    colmap.extract_features(
        database,
        folder / "images",
        names,
        colmap.CameraMode.PER_IMAGE,
        colmap.ImageReaderOptions(mask_path=folder / "masks"),
        device=cpu,
    )
    model = _with_poses(colmap, frames, names, database)
    pair_list = folder / "pairs.txt"
    pair_list.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in _pairs(frames)))
    pairing = colmap.ImportedPairingOptions(match_list_path=pair_list)
    colmap.match_image_pairs(database, pairing_options=pairing, device=cpu)
    (folder / "model").mkdir()
    model = colmap.triangulate_points(model, database, folder / "images", folder / "model")
    return list(model.points3D.values())


def _write_images(frames: Sequence[Frame], names: Sequence[str], folder: Path) -> None:
    def to_bytes(array: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
        return np.rint(array * 255).astype(np.uint8)

    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for frame, name in zip(frames, names, strict=True):
        Image.fromarray(to_bytes(load_image(frame))).save(folder / "images" / name)
        usable = (load_mask(frame, "valid") > 0.5) & (load_mask(frame, "dynamic") < 0.5)
        Image.fromarray(to_bytes(usable)).save(folder / "masks" / f"{name}.png")


def _with_poses(colmap: ModuleType, frames: Sequence[Frame], names: Sequence[str], database: Path):
    """Build a model of the images with their poses, and set the cameras of the database to those of the log."""
    model = colmap.Reconstruction()
    with colmap.Database.open(database) as entries:
        for frame, name in zip(frames, names, strict=True):
            image = entries.read_image_with_name(name)
            camera = colmap.Camera(
                camera_id=image.camera_id,
                model="PINHOLE",
                width=frame.width,
                height=frame.height,
                params=[frame.K[0, 0], frame.K[1, 1], frame.K[0, 2], frame.K[1, 2]],
                has_prior_focal_length=True,
            )
            entries.update_camera(camera)
            model.add_camera_with_trivial_rig(camera)
            pose = colmap.Rigid3d(invert_rigid(frame.world_from_camera)[:3])
            model.add_image_with_trivial_frame(
                colmap.Image(name=name, camera_id=image.camera_id, image_id=image.image_id), pose
            )
    return model


def _pairs(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """List the pairs of images that may overlap: close in time, with similar optical axes."""
    axis = [frame.world_from_camera[:3, 2] for frame in frames]
    return [
        (i, j)
        for i, j in itertools.combinations(range(len(frames)), 2)
        if abs(frames[i].time_index - frames[j].time_index) <= MAX_STEPS and axis[i] @ axis[j] >= np.cos(MAX_ANGLE)
    ]
