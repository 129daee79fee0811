import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ff_jax.data.boxes import corners
from ff_jax.data.formats import kitti, kitti_files
from ff_jax.data.formats.registry import open_source
from ff_jax.data.scene_data import boxes_at, invert_rigid, transform
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

STEPS = 3
STAMPS = [f"2011-09-26 13:02:{25 + i}.59436{i}375" for i in range(STEPS)]
AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera from LiDAR, before it is turned a little


def rigid(rotation, translation):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def row(values):
    return " ".join(f"{value:.12e}" for value in np.ravel(values))


class Vehicle:
    """A random vehicle that drives east, and its files in the three layouts of KITTI."""

    def __init__(self, rng):
        small = Rotation.from_rotvec(rng.normal(0, 0.02, (3, 3))).as_matrix()
        self.rectify = small[0]
        self.camera_from_lidar = rigid(small[1] @ AXES, rng.normal(0, 0.3, 3))
        self.lidar_from_imu = rigid(small[2], rng.normal(0, 0.8, 3))
        K = np.array([[30.0, 0, 12], [0, 30, 8], [0, 0, 1]])
        self.P = {i: np.concatenate([K, K @ [[shift], [0.01], [0.002]]], 1) for i, shift in {2: 0.06, 3: -0.47}.items()}
        self.oxts = np.zeros((STEPS, 30))
        self.oxts[:, :3] = np.array([49.0, 8.43, 112]) + np.outer(range(STEPS), [0.5e-6, 1.4e-5, 0.02])
        self.oxts[:, 3:6] = rng.normal(0, 0.02, (STEPS, 3))
        self.scans = rng.uniform([3, -4, -1, 0], [20, 4, 2, 1], (STEPS, 9, 4)).astype(np.float32)
        self.images = rng.integers(0, 256, (STEPS, 2, 16, 24, 3), np.uint8)
        self.box = dict(h=1.5, w=1.8, l=4.2, x=1.5, y=1.2, z=14.0, turn=0.7)

    def write_step(self, root, image, scan, name, i):
        for number in (2, 3):
            folder = root / image.format(number)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self.images[i, number - 2]).save(folder / f"{name}.png")
        (root / scan).mkdir(parents=True, exist_ok=True)
        self.scans[i].tofile(root / scan / f"{name}.bin")

    def raw(self, root):
        drive = root / "2011_09_26/2011_09_26_drive_0001_sync"
        for i in range(STEPS):
            self.write_step(drive, "image_0{}/data", "velodyne_points/data", f"{i:010d}", i)
            (drive / "oxts/data").mkdir(parents=True, exist_ok=True)
            (drive / f"oxts/data/{i:010d}.txt").write_text(row(self.oxts[i]))
        (drive / "image_02/timestamps.txt").write_text("\n".join(STAMPS) + "\n")
        projections = [f"P_rect_0{i}: {row(P)}" for i, P in self.P.items()]
        calibration = ["calib_time: 09-Jan-2012 13:57:47", f"R_rect_00: {row(self.rectify)}", *projections]
        (drive.parent / "calib_cam_to_cam.txt").write_text("\n".join(calibration) + "\n")
        for name, matrix in (("velo_to_cam", self.camera_from_lidar), ("imu_to_velo", self.lidar_from_imu)):
            text = f"calib_time: 15-Mar-2012 11:37:16\nR: {row(matrix[:3, :3])}\nT: {row(matrix[:3, 3])}\n"
            (drive.parent / f"calib_{name}.txt").write_text(text)
        values = dict(tx=10, ty=2, tz=-1.6, rx=0, ry=0, rz=0.3, state=1)
        poses = "".join("<item>" + "".join(f"<{k}>{v}</{k}>" for k, v in values.items()) + "</item>" for _ in range(2))
        item = "<item><objectType>Van</objectType><h>2</h><w>1.9</w><l>5</l><first_frame>1</first_frame>"
        text = f"<tracklets><count>1</count>{item}<poses><count>2</count>{poses}</poses></item></tracklets>"
        (drive / "tracklet_labels.xml").write_text(f"<boost_serialization>{text}</boost_serialization>")
        return drive

    def calibration(self, lidar, extra=()):
        return "\n".join([*(f"P{i}: {row(self.P[max(i, 2)])}" for i in range(4)), lidar, *extra, ""])

    def odometry(self, root):
        sequence = root / "sequences/02"
        for i in range(STEPS):
            self.write_step(sequence, "image_{}", "velodyne", f"{i:06d}", i)
        lidar = rigid(self.rectify, [0, 0, 0]) @ self.camera_from_lidar
        (sequence / "calib.txt").write_text(self.calibration(f"Tr: {row(lidar[:3])}"))
        (sequence / "times.txt").write_text("\n".join(f"{0.1 * i:e}" for i in range(STEPS)))
        (root / "poses").mkdir()
        poses = [rigid(np.eye(3), [0, 0, 1.3 * i]) for i in range(STEPS)]
        (root / "poses/02.txt").write_text("\n".join(row(pose[:3]) for pose in poses) + "\n")
        return sequence

    def tracking(self, root):
        for i in range(STEPS):
            self.write_step(root, "image_0{}/0007", "velodyne/0007", f"{i:06d}", i)
        for folder in ("calib", "oxts", "label_02"):
            (root / folder).mkdir()
        extra = [f"R_rect {row(self.rectify)}", f"Tr_imu_velo {row(self.lidar_from_imu[:3])}"]
        text = self.calibration(f"Tr_velo_cam {row(self.camera_from_lidar[:3])}", extra)
        (root / "calib/0007.txt").write_text(text)
        (root / "oxts/0007.txt").write_text("\n".join(row(values) for values in self.oxts))
        box = "{h} {w} {l} {x} {y} {z} {turn}".format(**self.box)
        labels = [f"{i} 4 Cyclist 0 0 -1.5 1 2 3 4 {box}" for i in range(STEPS)]
        dont_care = "0 -1 DontCare -1 -1 -10 1 2 3 4 -1000 -1000 -1000 -10 -1 -1 -1"
        (root / "label_02/0007.txt").write_text("\n".join([*labels, dont_care]) + "\n")
        return root


LOADERS = {
    "raw": kitti.load_raw,
    "odometry": kitti.load_odometry,
    "tracking": lambda path: kitti.load_tracking(path, "0007"),
}


@pytest.fixture(params=LOADERS)
def recording(request, tmp_path):
    vehicle = Vehicle(seeded_rng())
    path = getattr(vehicle, request.param)(tmp_path)
    return request.param, path, vehicle, validate(LOADERS[request.param](path), decode=True)


def test_lidar_points_fall_where_kittis_own_formula_puts_them(recording):
    _, _, vehicle, scene = recording
    assert len(scene.frames) == 2 * STEPS and len(scene.sweeps) == STEPS
    assert {(f.camera, f.split) for f in scene.frames} == {("left", "train"), ("right", "test")}
    for frame in scene.frames:
        i, number = frame.time_index, kitti.PAIRS[0][frame.camera]
        np.testing.assert_allclose(frame.image.load(), vehicle.images[i, number - 2] / 255, atol=1e-6)
        lidar = np.concatenate([vehicle.scans[i, :, :3], np.ones((9, 1))], 1).T
        expected = vehicle.P[number] @ rigid(vehicle.rectify, [0, 0, 0]) @ vehicle.camera_from_lidar @ lidar
        points = transform(invert_rigid(frame.world_from_camera), scene.sweeps[i].load_world().astype(float))
        actual = points @ frame.K.T
        # KITTI counts pixel centers at integers.
        np.testing.assert_allclose(actual[:, :2] / actual[:, 2:], (expected[:2] / expected[2]).T + 0.5, atol=1e-3)
    right, left = (next(f for f in scene.frames if f.camera == c).world_from_camera for c in ("right", "left"))
    # The cameras' P differ by 0.53 m to the right.
    np.testing.assert_allclose(invert_rigid(left) @ right, rigid(np.eye(3), [0.53, 0, 0]), atol=1e-9)


def test_the_vehicle_moves_as_its_satellite_positions_say(recording):
    kind, _, vehicle, scene = recording
    if kind == "odometry":
        step = scene.world_from_ego[1, :3, 3] - scene.world_from_ego[0, :3, 3]
        np.testing.assert_allclose(scene.world_from_ego[0, :3, :3].T @ step, [1.3, 0, 0], atol=1e-9)
        return
    east = np.radians(1.4e-5) * 6378137 * np.cos(np.radians(49))
    north = np.radians(0.5e-6) * 6378137
    expected = np.outer(range(STEPS), [east, north, 0.02])
    np.testing.assert_allclose(scene.world_from_ego[:, :3, 3], expected, atol=1e-4)
    yaw_rotation = Rotation.from_euler("xyz", vehicle.oxts[:, 3:6]).as_matrix()
    np.testing.assert_allclose(scene.world_from_ego[:, :3, :3], yaw_rotation, atol=1e-9)


def test_boxes_are_where_kittis_own_formula_puts_them(recording):
    kind, _, vehicle, scene = recording
    if kind == "odometry":
        assert scene.boxes == ()
        return
    boxes = boxes_at(scene, 1)
    assert len(boxes) == 1 and len(scene.boxes) == (2 if kind == "raw" else STEPS)
    actual = corners(np.stack([box.world_from_object for box in boxes]), np.stack([box.size for box in boxes]))[0]
    if kind == "raw":
        assert boxes[0].category == "vehicle"
        x, y = np.meshgrid([2.5, -2.5], [0.95, -0.95])
        flat = np.stack([x.ravel(), y.ravel()], -1) @ Rotation.from_euler("z", -0.3).as_matrix()[:2, :2]
        expected = [[xy[0] + 10, xy[1] + 2, z] for xy in flat for z in (-1.6, 0.4)]
        frame, forward = scene.sweeps[1].world_from_lidar, [np.cos(0.3), np.sin(0.3), 0]
    else:
        assert boxes[0].category == "cyclist" and boxes[0].track_id == "4"
        h, w, length, x, y, z, turn = vehicle.box.values()
        yaw_rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        signs = [(a, b, c) for a in (-0.5, 0.5) for b in (-1, 0) for c in (-0.5, 0.5)]
        expected = [yaw_rotation @ [a * length, b * h, c * w] + [x, y, z] for a, b, c in signs]
        lidar_from_rectified = invert_rigid(rigid(vehicle.rectify, [0, 0, 0]) @ vehicle.camera_from_lidar)
        frame = scene.sweeps[1].world_from_lidar @ lidar_from_rectified
        forward = [np.cos(turn), 0, -np.sin(turn)]  # rotation_y turns x towards -z of the camera
    np.testing.assert_allclose(boxes[0].world_from_object[:3, 0], frame[:3, :3] @ forward, atol=1e-9)
    expected = transform(frame, np.array(expected))
    distances = np.linalg.norm(actual[:, None] - expected, axis=-1)
    assert distances.min(0).max() < 1e-6 and distances.min(1).max() < 1e-6


def test_missing_and_damaged_files_give_one_sentence(recording):
    kind, path, _, _ = recording
    load = LOADERS[kind]
    scan = next(path.rglob("*.bin"))
    scan.write_bytes(scan.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"\.bin: has 141 bytes, not four numbers"):
        [sweep.load() for sweep in load(path).sweeps]
    damaged_file = {"raw": "oxts/data/0000000001.txt", "odometry": "../../poses/02.txt", "tracking": "oxts/0007.txt"}[
        kind
    ]
    text = (path / damaged_file).read_text()
    (path / damaged_file).write_text(text[:20] + "x")
    with pytest.raises(ValueError, match=r"not a table of \d+ numbers a line"):
        load(path)
    (path / damaged_file).unlink()
    with pytest.raises(ValueError, match="no such file"):
        load(path)
    calibration = {"raw": "../calib_cam_to_cam.txt", "odometry": "calib.txt", "tracking": "calib/0007.txt"}[kind]
    (path / calibration).write_text("calib_time: now\n")
    with pytest.raises(ValueError, match=r"has no 3x[34] matrix"):
        load(path)


def test_other_text_is_no_label_file(tmp_path):
    (tmp_path / "a.txt").write_text("0 4 Car 1 2\n")
    with pytest.raises(ValueError, match="is not a file of tracking labels"):
        kitti_files.read_labels(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="is damaged or of another type"):
        kitti_files.read_tracklets(tmp_path / "a.txt")
    (tmp_path / "image_02/0001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"invalid \?sequence=2: expected one of 0001"):
        kitti.load_tracking(tmp_path, "2")
    with pytest.raises(ValueError, match="image_00/0001 hold no images"):
        kitti.load_tracking(tmp_path, "0001")


@pytest.fixture
def odometry(tmp_path):
    vehicle = Vehicle(seeded_rng())
    return vehicle, vehicle.odometry(tmp_path)


def test_gray_cameras_and_jpeg_files(odometry):
    vehicle, path = odometry
    for gray, color in enumerate((2, 3)):
        folder = (path / f"image_{color}").rename(path / f"image_{gray}")
        for file in folder.glob("*.png"):
            Image.open(file).convert("L").save(file.with_suffix(".jpg"))
            file.unlink()
    text = (path / "calib.txt").read_text()
    P = {0: vehicle.P[2], 1: np.array([[30.0, 0, 12, -16.2], [0, 30, 8, 0], [0, 0, 1, 0]])}
    lines = [f"P{i}: {row(P[i])}" for i in P] + [line for line in text.splitlines() if line[:2] not in ("P0", "P1")]
    (path / "calib.txt").write_text("\ufeff" + "\n".join(lines))
    scene = validate(open_source(str(path)), decode=True)
    left, right = scene.frames[:2]
    assert (left.camera, left.split, right.split) == ("left", "train", "test") and left.image.path.suffix == ".jpg"
    np.testing.assert_allclose((invert_rigid(left.world_from_camera) @ right.world_from_camera)[0, 3], 0.6, atol=1e-9)


def test_the_calibration_of_the_lidar_is_needed_only_with_scans(odometry):
    _, path = odometry
    text = (path / "calib.txt").read_text()
    (path / "calib.txt").write_text(text[: text.index("Tr:")])
    with pytest.raises(ValueError, match="has no 3x4 matrix Tr"):
        kitti.load_odometry(path)
    shutil.rmtree(path / "velodyne")
    scene = validate(kitti.load_odometry(path))
    assert len(scene.frames) == 2 * STEPS and scene.sweeps == ()


@pytest.mark.parametrize("kind", LOADERS)
def test_the_names_of_an_excerpt_are_its_rows(tmp_path, kind):
    vehicle = Vehicle(seeded_rng())
    path = getattr(vehicle, kind)(tmp_path)
    whole = LOADERS[kind](path)
    for file in path.rglob("*00000.png"):  # the first image of every camera
        file.unlink()
    scene = validate(LOADERS[kind](path), decode=True)
    assert len(scene.frames) == 2 * (STEPS - 1) and len(scene.sweeps) == STEPS - 1
    np.testing.assert_allclose(scene.times, whole.times[1:] - whole.times[1])
    moved = whole.world_from_ego[1:, :3, 3] - whole.world_from_ego[1, :3, 3]
    np.testing.assert_allclose(scene.world_from_ego[:, :3, 3], moved, atol=1e-9)
    assert [box.time_index for box in scene.boxes] == [box.time_index - 1 for box in whole.boxes if box.time_index]


def test_tables_with_too_few_rows_name_the_image(odometry):
    _, path = odometry
    (path / "times.txt").write_text("0\n0.1\n")
    with pytest.raises(ValueError, match=r"times\.txt: has 2 rows, and none for image 2"):
        kitti.load_odometry(path)
