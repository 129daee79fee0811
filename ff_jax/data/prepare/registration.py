"""Build a log from pictures without poses: structure from motion with one lens, gravity and meters from the road.

COLMAP (Schoenberger and Frahm, CVPR 2016; the package pycolmap) finds poses, lens and points. The road is a plane among
the points: its normal is up, and the height of the camera above it gives the unit of length.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.lazy_arrays import image_size
from ff_jax.data.lenses import lens
from ff_jax.data.pictures import Picture
from ff_jax.data.prepare.structure_from_motion import import_colmap
from ff_jax.data.road import find_road, leveled
from ff_jax.data.scene_data import SceneData, SparsePoints, invert_rigid
from ff_jax.data.units import CameraHeight, Scale, in_meters, median_depth, scaled_units

SOURCE = "pictures with poses from structure from motion"
LENS = "SIMPLE_RADIAL"  # camera model of the pictures: a drive gives little evidence of more parameters
MAX_FEATURES = 4000  # of a picture
LARGE = 640  # pixels
OVERLAP = 8  # pictures after each one that it is matched with, and farther ones at powers of two
MIN_PLACED = 0.5  # share of the pictures that must get a pose
MIN_TRACK, MAX_ERROR = 3, 2.0  # pictures that see a point, pixels of reprojection error
TYPICAL_DEPTH = 10.0  # median depth of the points, in units, where the unit stays unknown

Report = Callable[[str], None]


def register(pictures: Sequence[Picture], name: str, scale: Scale, report: Report, folder: Path = Path()) -> SceneData:
    """Find the poses and the lens of pictures of one camera, and build their log.

    Args:
        pictures: in order of time.
        name: of the log.
        scale: what the unit of length follows from, such as the height of the camera above the road.
        report: receives a line about each stage.
        folder: of files that the scale names.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: fewer than half of the pictures got a pose.
    """
    with tempfile.TemporaryDirectory() as temporary:
        model = _reconstruct(pictures, Path(temporary), report)
    placed = {image.name: image for image in model.images.values() if image.has_pose} if model else {}
    summary = f"{len(placed)} of {len(pictures)} pictures were placed"
    if model is None or len(placed) < MIN_PLACED * len(pictures):
        raise ValueError(
            f"{name}: {summary}; use more pictures of the drive (--pictures), a part of it in which the camera moves "
            "steadily, or pictures with less blur."
        )
    report(f"{summary}; reprojection error {model.compute_mean_reprojection_error():.2f} pixels")
    scene = photo_scene(name, SOURCE, _photos(pictures, model), _points(model), scale=1.0)
    scene = _in_meters(_with_times(scene, pictures), scale, folder, report)
    return replace(scene, world_from_files=np.eye(4))  # the model is not kept


def _reconstruct(pictures: Sequence[Picture], folder: Path, report: Report):
    """Run COLMAP; return the model with the most images, None if there is none."""
    colmap = import_colmap()
    (folder / "images").mkdir()
    for number, picture in enumerate(pictures):
        (folder / "images" / _name(number, picture)).symlink_to(picture.file.absolute())
    names, database = [_name(*item) for item in enumerate(pictures)], folder / "database.db"
    one_size = len({image_size(picture.file) for picture in pictures}) == 1
    mode = colmap.CameraMode.SINGLE if one_size else colmap.CameraMode.PER_IMAGE
    report(f"finding features in {len(pictures)} pictures")
    extraction = colmap.FeatureExtractionOptions()
    extraction.sift.max_num_features = MAX_FEATURES
    # Features of half a pixel take most of the time, and only small pictures lack others.
    extraction.sift.first_octave = -1 if max(image_size(pictures[0].file)) < LARGE else 0
    reader = colmap.ImageReaderOptions(camera_model=LENS)
    cpu = {"device": colmap.Device.cpu}
    colmap.extract_features(database, folder / "images", names, mode, reader, extraction, **cpu)
    report("matching features of neighboring pictures")
    colmap.match_sequential(database, pairing_options=colmap.SequentialPairingOptions(overlap=OVERLAP), **cpu)
    for refine_lens in (True, False):  # a lens that follows from too little evidence can run away
        report("placing the pictures" + ("" if refine_lens else ", without distortion"))
        model = _place(colmap, database, folder / f"{refine_lens}", refine_lens, report)
        if model and model.num_reg_images() >= MIN_PLACED * len(pictures):
            return model
    return model


def _place(colmap: ModuleType, database: Path, folder: Path, refine_lens: bool, report: Report):
    """Place the pictures of a database one after another; return the model with the most of them, None without any."""
    options = colmap.IncrementalPipelineOptions(random_seed=0, min_model_size=3, ba_refine_extra_params=refine_lens)
    # A camera that looks forward moves along its axis; the defaults refuse such a first pair.
    options.mapper.init_max_forward_motion, options.mapper.init_min_tri_angle = 1.0, 4.0
    count = [2]  # of the first pair of each model

    def begin() -> None:
        count[0] = 2

    def placed() -> None:
        count[0] += 1
        if count[0] % 10 == 0:
            report(f"placed {count[0]} pictures")

    folder.mkdir()
    images = database.parent / "images"
    calls = {"initial_image_pair_callback": begin, "next_image_callback": placed}
    models = colmap.incremental_mapping(database, images, folder, options, **calls)
    return max(models.values(), key=lambda model: model.num_reg_images(), default=None)


def _name(number: int, picture: Picture) -> str:
    return f"{number:06d}{picture.file.suffix.lower()}"


def _photos(pictures: Sequence[Picture], model) -> list[Photo]:
    photos = []
    for image in model.images.values():
        if image.has_pose:
            camera, pose = model.cameras[image.camera_id], np.eye(4)
            pose[:3] = image.cam_from_world().matrix()
            photos.append(
                Photo(
                    name=image.name,
                    file=pictures[int(Path(image.name).stem)].file,
                    lens=lens(camera.model_name, [float(value) for value in camera.params]),
                    world_from_camera=invert_rigid(pose),
                    width=camera.width,
                    height=camera.height,
                )
            )
    return photos


def _with_times(scene: SceneData, pictures: Sequence[Picture]) -> SceneData:
    """Set the times of the pictures that were placed; time steps are in the order of their numbers."""
    file_of = {str(picture.file): picture.time for picture in pictures}
    times = np.array([file_of[frame.image.name] for frame in scene.frames])
    times -= times[0]
    frames = tuple(replace(frame, time=float(t)) for frame, t in zip(scene.frames, times, strict=True))
    return replace(scene, times=times, frames=frames)


def _points(model) -> SparsePoints:
    """Collect the points that several pictures see with a small error."""
    points = [p for p in model.points3D.values() if p.track.length() >= MIN_TRACK and p.error <= MAX_ERROR]
    xyz, rgb = (np.array([getattr(p, key) for p in points], float).reshape(-1, 3) for key in ("xyz", "color"))
    return SparsePoints(xyz, rgb / 255)


def _in_meters(scene: SceneData, scale: Scale, folder: Path, report: Report) -> SceneData:
    """Level the ego frame and convert the scene to meters; without a road or a measurement the unit stays unknown."""
    road, problem = None, ""
    try:
        road = find_road(scene)
        scene = leveled(scene, road)
    except ValueError as error:
        problem = str(error)
    if isinstance(scale, CameraHeight) and road is not None:
        report(f"unit of length: the camera is {scale.meters:g} m above the road (--camera_height)")
        return scaled_units(scene, scale.meters / road.height)
    if not isinstance(scale, CameraHeight):
        try:
            scaled = in_meters(scene, scale, folder)
            report(f"unit of length: {scaled.source.rpartition('; ')[2]}")
            return replace(scaled, source=SOURCE)
        except ValueError as error:
            problem = str(error)
    depth = median_depth(scene) or TYPICAL_DEPTH
    report(f"{problem} The unit is unknown: the median depth of the points is {TYPICAL_DEPTH:g} units.")
    scene = scaled_units(scene, TYPICAL_DEPTH / depth)
    return replace(scene, has_meters=False, source=f"{SOURCE}; lengths are in units, not in meters")
