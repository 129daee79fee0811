"""Add what a log lacks and write it as a scene folder: sky masks, masks of the own vehicle, smooth paths, points.

python -m experiments.prepare --source=assets:data/kitti_jam_color_lidar --out=/tmp/jam --sky=color --ego
python -m experiments.prepare --source=assets:data/ddad_dgp_6cam --out=/tmp/ddad --outlines=FILE.json
python -m experiments.prepare --source=LOG --out=OUT --sky=assets:weights/sky_u2netp/sky_u2netp_384.onnx --smooth
python -m experiments.prepare --source=assets:data/kitti02_stereo_color --out=/tmp/kitti02 --points
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.folder import write_folder
from ff_jax.data.lazy_arrays import read_object
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.data.prepare import ego_masks, sky_masks, smoothing, structure_from_motion
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.shifted_views import spread
from ff_jax.export.figures import contact_sheet
from ff_jax.export.image_bytes import save_png
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.run_log import progress

_SOURCE = flags.DEFINE_string("source", None, "Log: a folder, assets:FOLDER, or 'world'.", required=True)
_OUT = flags.DEFINE_string("out", None, "Scene folder to write; must not exist.", required=True)
_SKY = flags.DEFINE_string("sky", None, "'color' (colour and LiDAR), or an ONNX network (assets:FILE or a path).")
_EGO = flags.DEFINE_bool("ego", False, "Find the own vehicle in every camera's images.")
_OUTLINES = flags.DEFINE_string("outlines", None, "JSON file: by camera, polygons around parts of the own vehicle.")
_SMOOTH = flags.DEFINE_bool("smooth", False, "Smooth the tracks of what moves.")
_PATHS = flags.DEFINE_bool("paths", False, "Smooth the paths of the cameras, where poses err from image to image.")
_POINTS = flags.DEFINE_bool("points", False, "Triangulate points from the training images (needs pycolmap).")
_WIDTH = flags.DEFINE_integer("width", 0, "Image width in pixels; 0 keeps a log's own (640 for 'world').")
_JITTER = flags.DEFINE_float("jitter", 0.1, "Standard error of a box's position, metres (with --smooth).")


def prepared(log: SceneData) -> SceneData:
    """Return the log with everything that the flags ask for."""
    if _SKY.value == "color":
        log = sky_masks.with_sky(log, sky_masks.by_color(log))
    elif _SKY.value is not None:
        log = sky_masks.with_sky(log, sky_masks.by_network(open_network(command_line.log_path(_SKY.value))))
    log = ego_masks.with_ego_masks(log) if _EGO.value else log
    log = (
        ego_masks.with_outlines(log, read_object(Path(_OUTLINES.value), "polygons by camera"))
        if _OUTLINES.value
        else log
    )
    log = smoothing.smooth_cameras(log) if _PATHS.value else log
    log = structure_from_motion.with_sparse_points(log) if _POINTS.value else log
    return smoothing.smooth_tracks(log, jitter=_JITTER.value) if _SMOOTH.value else log


def preview(log: SceneData) -> np.ndarray:
    """Return some frames of every camera with sky in blue and invalid pixels in red."""
    rows = []
    for camera in log.cameras:
        row = []
        for frame in progress(spread([f for f in log.frames if f.camera == camera], 3), f"preview {camera}"):
            picture = load_image(frame).copy()
            picture[load_mask(frame, "sky") > 0.5] *= (0.4, 0.6, 1.0)
            picture[load_mask(frame, "valid") < 0.5] *= (1.0, 0.4, 0.4)
            row.append(picture)
        rows.append(row)
    return contact_sheet(rows, rows=log.cameras, width=416)


def main(_: list[str]) -> None:
    """Prepare a log."""
    if _SKY.value is None and not (_EGO.value or _OUTLINES.value or _SMOOTH.value or _PATHS.value or _POINTS.value):
        raise ValueError("nothing to do: give --sky, --ego, --outlines, --smooth, --paths or --points.")
    try:
        log = prepared(open_log(command_line.source_config(_SOURCE.value, _WIDTH.value)))
    except ImportError as error:
        raise ValueError(str(error)) from error
    path = write_folder(log, Path(_OUT.value))
    save_png(path / "preview.png", preview(log))
    print(f"wrote {path} with {len(log.frames)} frames; look at {path / 'preview.png'}")


if __name__ == "__main__":
    command_line.run(main)
