"""Complete a log and write it as a scene folder: sky masks, masks of the ego vehicle, smooth tracks, points.

A video, or a folder of pictures without poses, becomes a log first: poses, lens, points and meters are found.

python -m experiments.prepare --source=assets:data/kitti_jam_color_lidar --out=/tmp/jam --sky=color --ego
python -m experiments.prepare --source=assets:data/ddad_dgp_6cam --out=/tmp/ddad --outlines=FILE.json
python -m experiments.prepare --source=LOG --out=OUT --sky=assets:weights/sky_u2netp/sky_u2netp_384.onnx --smooth
python -m experiments.prepare --source=assets:data/kitti02_stereo_color --out=/tmp/kitti02 --points
python -m experiments.prepare --source=drive.mp4 --out=/tmp/drive --pictures=80 --camera_height=1.3 --ego
"""

import tempfile
from pathlib import Path

import numpy as np
from absl import flags
from jaxtyping import UInt8

from experiments.cli import command_line
from ff_jax.data.config import DataConfig
from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.formats.registry import find_format
from ff_jax.data.lazy_arrays import read_object
from ff_jax.data.loader import load_image, load_mask, scaled
from ff_jax.data.open import open_log
from ff_jax.data.pictures import choose_pictures, find_pictures
from ff_jax.data.prepare import ego_masks, registration, sky_masks, smoothing, structure_from_motion
from ff_jax.data.scene_data import SceneData
from ff_jax.data.units import CameraHeight, Scale, parse_scale
from ff_jax.evaluation.shifted_views import evenly_spaced
from ff_jax.export.figures import contact_sheet
from ff_jax.export.image_bytes import save_png
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.progress import progress

_SOURCE = flags.DEFINE_string(
    "source", None, "Log: a folder, assets:FOLDER, 'world' (synthetic street), a video or pictures.", required=True
)
_OUT = flags.DEFINE_string("out", None, "Scene folder to write; must not exist.", required=True)
_SKY = flags.DEFINE_string("sky", None, "'color' (from color and LiDAR), or an ONNX network (assets:FILE or a path).")
_EGO = flags.DEFINE_bool("ego", False, "Find the ego vehicle in the images of each camera.")
_OUTLINES = flags.DEFINE_string("outlines", None, "JSON file: polygons around the ego vehicle, by camera.")
_SMOOTH = flags.DEFINE_bool("smooth", False, "Smooth the tracks of moving objects.")
_PATHS = flags.DEFINE_bool("paths", False, "Smooth the camera paths, against pose errors that differ between images.")
_POINTS = flags.DEFINE_bool("points", False, "Triangulate points from the training images (needs pycolmap).")
_WIDTH = flags.DEFINE_integer(
    "width", 0, "Image width in pixels; 0: that of the log (640 for 'world').", lower_bound=0, upper_bound=16_384
)
_JITTER = flags.DEFINE_float(
    "jitter", 0.1, "Standard error of a box's position, meters (with --smooth).", lower_bound=1e-06, upper_bound=1000.0
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 100, "Largest number of pictures taken from a video or a folder.", lower_bound=3, upper_bound=10_000
)
_HEIGHT = flags.DEFINE_float(
    "camera_height",
    1.5,
    "Height of a camera without poses above the road, meters.",
    lower_bound=0.01,
    upper_bound=100.0,
)
_SCALE = flags.DEFINE_string(
    "scale",
    None,
    "Unit of length of pictures without poses, instead of --camera_height: gps, gps:FILE, as ?scale=",
)


def _parse_scale(text: str) -> Scale:
    try:
        return parse_scale(text)
    except ValueError:
        raise ValueError(f"invalid --scale={text}: expected {parse_scale.__name__}.") from None


def data_config() -> DataConfig:
    """Make the settings that open the log of the flags."""
    return command_line.data_config(_SOURCE.value, _WIDTH.value)


def register(source: Path, folder: Path) -> SceneData:
    """Make a log of a video or of pictures without poses; the frames of a video are written to `folder`."""

    def report(line: str) -> None:
        print(line, flush=True)

    report(f"choosing at most {_PICTURES.value} pictures of {source}")
    pictures = choose_pictures(source, _PICTURES.value, folder)
    scale = CameraHeight(_HEIGHT.value) if _SCALE.value is None else _parse_scale(_SCALE.value)
    log = registration.register(pictures, source.stem, scale, report, source)
    return scaled(log, width=_WIDTH.value) if 0 < _WIDTH.value < log.frames[0].width else log


def prepare(log: SceneData) -> SceneData:
    """Add to a log what the flags ask for."""
    if _SKY.value == "color":
        log = sky_masks.with_sky(log, sky_masks.color_segmenter(log))
    elif _SKY.value is not None:
        log = sky_masks.with_sky(log, sky_masks.network_segmenter(open_network(command_line.log_path(_SKY.value))))
    log = ego_masks.with_ego_masks(log) if _EGO.value else log
    if _OUTLINES.value:
        log = ego_masks.with_outlines(log, read_object(Path(_OUTLINES.value), "polygons by camera"))
    log = smoothing.smooth_cameras(log) if _PATHS.value else log
    log = structure_from_motion.with_sparse_points(log) if _POINTS.value else log
    return smoothing.smooth_tracks(log, jitter=_JITTER.value) if _SMOOTH.value else log


def preview(log: SceneData) -> UInt8[np.ndarray, "H W 3"]:
    """Draw some frames of each camera, with the sky in blue and invalid pixels in red."""
    rows = []
    for camera in log.cameras:
        row, frames = [], [frame for frame in log.frames if frame.camera == camera]
        for frame in progress(evenly_spaced(frames, 3), f"preview {camera}"):
            image = load_image(frame).copy()
            image[load_mask(frame, "sky") > 0.5] *= (0.4, 0.6, 1.0)
            image[load_mask(frame, "valid") < 0.5] *= (1.0, 0.4, 0.4)
            row.append(image)
        rows.append(row)
    return contact_sheet(rows, rows=log.cameras, width=416)


def main(_: list[str]) -> None:
    """Prepare a log."""
    source, out = Path(command_line.log_path(_SOURCE.value)), Path(_OUT.value)
    is_pictures = source.exists() and find_format(source) is None and bool(find_pictures(source))
    asked = _SKY.value or _EGO.value or _OUTLINES.value or _SMOOTH.value or _PATHS.value or _POINTS.value
    if not (asked or is_pictures):
        raise ValueError("nothing to do: expected --sky, --ego, --outlines, --smooth, --paths or --points.")
    if out.exists():
        raise ValueError(f"{out} exists; remove it or choose another folder.")
    with tempfile.TemporaryDirectory() as frames:  # of a video, until they are written
        try:
            log = register(source, Path(frames)) if is_pictures else open_log(data_config())
            path = write_folder(prepare(log), out)
        except ImportError as error:
            raise ValueError(str(error)) from error
        log = read_folder(path)
    save_png(path / "preview.png", preview(log))
    print(f"wrote {path} with {len(log.frames)} frames; see {path / 'preview.png'}")


if __name__ == "__main__":
    command_line.run(main)
