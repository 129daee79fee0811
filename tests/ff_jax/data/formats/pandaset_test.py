import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from experiments.studies.measures.robustness.writers.pandas_pickle import table_writer
from ff_jax.data.formats import pandaset
from ff_jax.data.formats.registry import open_source
from ff_jax.data.scene_data import OPENCV_FROM_EGO, boxes_at, invert_rigid
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

STEPS, START = 2, 1_557_539_924.5
CAMERAS = ("back_camera", "front_camera")


class Sequence:
    """A random sequence in the layout of the development kit."""

    def __init__(self, rng, writer, root):
        self.rng, self.root = rng, root
        level = Rotation.from_matrix(np.linalg.inv(OPENCV_FROM_EGO[:3, :3]))
        self.turns = {c: Rotation.from_euler("z", turn) * level for c, turn in zip(CAMERAS, (3.1, 0.05), strict=True)}
        self.lidar = Rotation.from_euler("z", -1.5)
        self.points = rng.uniform(-30, 30, (STEPS, 6, 3)) + np.array([500, -200, 3])
        for camera, turn in self.turns.items():
            self.camera(root / "camera" / camera, turn)
        self.put(root / "lidar", self.lidar, 0.0)
        for step in range(STEPS):
            columns = {axis: self.points[step, :, i] for i, axis in enumerate("xyz")}
            columns |= {"i": np.full(6, 51.0), "t": np.full(6, START), "d": np.arange(6) % 2}
            writer.write(root / f"lidar/{step:02d}.pkl.gz", columns, True)
            writer.write(root / f"annotations/cuboids/{step:02d}.pkl.gz", self.labels(step), True)

    def place(self, step):
        return {"x": 500.0 + 1.1 * step, "y": -200.0, "z": 1.5}

    def put(self, folder, turn, delay):
        x, y, z, w = turn.as_quat().tolist()
        folder.mkdir(parents=True, exist_ok=True)
        poses = [{"position": self.place(i), "heading": {"w": w, "x": x, "y": y, "z": z}} for i in range(STEPS)]
        (folder / "poses.json").write_text(json.dumps(poses))
        (folder / "timestamps.json").write_text(json.dumps([START + 0.1 * i + delay for i in range(STEPS)]))

    def camera(self, folder, turn):
        self.put(folder, turn, 0.02)
        (folder / "intrinsics.json").write_text(json.dumps({"fx": 20.0, "fy": 21.0, "cx": 12.0, "cy": 8.0}))
        for step in range(STEPS):
            Image.fromarray(self.rng.integers(0, 256, (16, 24, 3), np.uint8)).save(folder / f"{step:02d}.jpg")

    def labels(self, step):
        text = {"uuid": ["a", "b", "c"], "label": ["Car", "Car", "Signs"]}
        columns = {key: np.array(values, object) for key, values in text.items()}
        columns |= {"yaw": np.array([0.3, 0.31, 1]), "cuboids.sensor_id": np.array([0, 1, -1])}
        for key, values in {"position": (510.0 + step, -195, 2), "dimensions": (1.9, 4.6, 1.5)}.items():
            columns |= {f"{key}.{axis}": np.full(3, float(v)) for axis, v in zip("xyz", values, strict=True)}
        return columns


@pytest.fixture
def sequence_folder(tmp_path):
    path = tmp_path / "002"
    with table_writer() as writer:
        yield Sequence(seeded_rng(), writer, path), path


def test_a_sequence_is_read(sequence_folder):
    sequence, path = sequence_folder
    scene = validate(open_source(str(path)), decode=True)
    assert scene.name == "pandaset_002" and set(scene.cameras) == set(CAMERAS) and len(scene.frames) == 4
    np.testing.assert_allclose(scene.times, [0, 0.1], atol=1e-6)
    for frame in scene.frames:
        assert frame.time == pytest.approx(0.02 + 0.1 * frame.time_index, abs=1e-6)
        np.testing.assert_allclose(frame.world_from_camera[:3, :3], sequence.turns[frame.camera].as_matrix(), atol=1e-9)
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], [1.1 * frame.time_index, 0, 0], atol=1e-9)
        assert frame.K.tolist() == [[20, 0, 12.5], [0, 21, 8.5], [0, 0, 1]]
    ahead = Rotation.from_euler("z", 0.05).as_matrix()
    np.testing.assert_allclose(scene.world_from_ego[:, :3, :3], [ahead, ahead], atol=1e-9)
    for sweep, points in zip(scene.sweeps, sequence.points, strict=True):
        np.testing.assert_allclose(sweep.load_world(), points - [500, -200, 1.5], atol=1e-4)
        np.testing.assert_allclose(sweep.load()[1], 0.2, atol=1e-6)


def test_labels_look_along_y_and_are_read_once(sequence_folder):
    _, path = sequence_folder
    scene = pandaset.load(path)
    box, sign = boxes_at(scene, 1)
    assert (box.track_id, box.category, sign.track_id, sign.category) == ("a", "vehicle", "c", "other")
    # Yaw turns counter-clockwise from y, along which an object is long.
    np.testing.assert_allclose(box.world_from_object[:3, 0], [-np.sin(0.3), np.cos(0.3), 0], atol=1e-9)
    np.testing.assert_allclose(box.world_from_object[:3, 3], [11, 5, 0.5], atol=1e-9)
    assert box.size.tolist() == [4.6, 1.9, 1.5] and np.linalg.det(invert_rigid(box.world_from_object)) == pytest.approx(
        1
    )


def test_broken_sequences_give_one_sentence(sequence_folder):
    _, path = sequence_folder
    for name, text, message in (
        ("lidar/timestamps.json", "[]", r"timestamps\.json: holds no list"),
        ("lidar/timestamps.json", "[1,", r"timestamps\.json: not valid JSON"),
        ("lidar/poses.json", "[{}]", r"lidar: has 1 poses for 2 times"),
        ("camera/front_camera/poses.json", "[{}, {}]", r"is not a PandaSet sequence \(KeyError\('heading'\)\)"),
        ("camera/front_camera/intrinsics.json", "{}", r"is not a PandaSet sequence \(KeyError\('fx'\)\)"),
    ):
        whole = (path / name).read_text()
        (path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            pandaset.load(path)
        (path / name).write_text(whole)


def test_missing_images_and_sweeps_are_left_out(sequence_folder, caplog):
    _, path = sequence_folder
    (path / "camera/front_camera/00.jpg").unlink()
    (path / "lidar/01.pkl.gz").unlink()
    scene = validate(open_source(str(path)))
    assert [(f.camera, f.time_index) for f in scene.frames] == [("back_camera", 0), *((c, 1) for c in CAMERAS)]
    assert [sweep.time_index for sweep in scene.sweeps] == [0] and len(scene.times) == STEPS
    assert "1 of 4 images are missing" in caplog.text and "1 of 2 sweeps are missing" in caplog.text


def test_a_shorter_list_of_sweeps_is_matched_by_time(sequence_folder):
    _, path = sequence_folder
    for name in ("poses", "timestamps"):
        file = path / f"lidar/{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text())[1:]))
    (path / "lidar/01.pkl.gz").rename(path / "lidar/00.pkl.gz")
    scene = validate(open_source(str(path)))
    assert {f.image.path.name for f in scene.frames} == {"01.jpg"} and len(scene.frames) == 2
    assert len(scene.times) == len(scene.sweeps) == 1
    np.testing.assert_allclose([f.time for f in scene.frames], 0.02, atol=1e-6)
