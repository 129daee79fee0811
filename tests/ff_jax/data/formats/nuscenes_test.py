import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import nuscenes
from ff_jax.data.formats.nuscenes_tables import category
from ff_jax.data.formats.registry import open_source
from ff_jax.data.scene_data import boxes_at, invert_rigid
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

START = 1_532_402_927_647_951
KEYS = (0, 500_000, 1_000_000)
CHANNELS = {"CAM_BACK": 30_000, "CAM_FRONT": -10_000, "LIDAR_TOP": 0}
PERIODS = {"CAM_BACK": 100_000, "CAM_FRONT": 100_000, "LIDAR_TOP": 50_000}


class Mini:
    """A set of two scenes, of which one has records, in the layout of nuScenes."""

    def __init__(self, rng, root):
        self.root, self.rng = root, rng
        self.mounts = {c: (Rotation.random(rng=rng), rng.normal(size=3)) for c in CHANNELS}
        self.label_turns = Rotation.from_euler("z", 0.2 + 0.1 * np.arange(3)[:, None])
        self.tables = {name: [] for name in "sample sample_data ego_pose sample_annotation".split()}
        sensors = [{"token": f"s{c}", "channel": c, "modality": "any"} for c in CHANNELS]
        self.tables |= {
            "scene": [{"token": f"t{n}", "name": n, "log_token": "l"} for n in ("scene-0061", "scene-0103")],
            "log": [{"token": "l", "location": "singapore-onenorth"}],
            "sensor": sensors,
            "calibrated_sensor": [self.mount(c) for c in CHANNELS],
            "instance": [{"token": "i", "category_token": "c"}],
            "category": [{"token": "c", "name": "vehicle.car"}],
        }
        for index, offset in enumerate(KEYS):
            token = f"sample{index}"
            self.tables["sample"].append({"token": token, "timestamp": START + offset, "scene_token": "tscene-0061"})
            for channel in CHANNELS:
                self.records(channel, token, offset)
            self.label(index, token)
        (root / "v1.0-mini").mkdir()
        self.write()

    def mount(self, channel):
        turn, shift = self.mounts[channel]
        K = [[30.0, 0, 12], [0, 31, 8], [0, 0, 1]] if channel != "LIDAR_TOP" else []
        record = {"token": f"m{channel}", "sensor_token": f"s{channel}", "camera_intrinsic": K}
        return record | {"rotation": wxyz(turn), "translation": shift.tolist()}

    def records(self, channel, token, offset):
        for number in range(500_000 // PERIODS[channel]):
            time = START + offset + CHANNELS[channel] + number * PERIODS[channel]
            camera, key = channel.startswith("CAM"), number == 0
            file = f"{'samples' if key else 'sweeps'}/{channel}/{time}.{'png' if camera else 'pcd.bin'}"
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            if camera:
                Image.fromarray(self.rng.integers(0, 256, (16, 24, 3), np.uint8)).save(self.root / file)
            else:
                self.rng.uniform(0, 200, (7, 5)).astype(np.float32).tofile(self.root / file)
            self.tables["sample_data"].append(
                {
                    "token": file,
                    "sample_token": token,
                    "ego_pose_token": file,
                    "calibrated_sensor_token": f"m{channel}",
                    "timestamp": time,
                    "is_key_frame": key,
                    "height": 16 if camera else 0,
                    "width": 24 if camera else 0,
                    "filename": file,
                }
            )
            pose = {"translation": place(time), "rotation": [1, 0, 0, 0.2], "timestamp": time}
            self.tables["ego_pose"].append({"token": file} | pose)

    def label(self, index, token):
        place = {"translation": [910.0 + 4 * index, 800, 1], "rotation": wxyz(self.label_turns[index])}
        label = {"token": f"a{index}", "sample_token": token, "instance_token": "i", "size": [1.9, 4.4, 1.6]}
        self.tables["sample_annotation"].append(label | place | {"num_lidar_pts": 30 + index})

    def write(self):
        for name, records in self.tables.items():
            (self.root / f"v1.0-mini/{name}.json").write_text(json.dumps(records))


def place(time):
    return [900 + (time - START) * 6e-6, 800.0, 0.0]


def wxyz(turn):
    return turn.as_quat()[[3, 0, 1, 2]].tolist()


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return Mini(seeded_rng(), tmp_path_factory.mktemp("nuscenes"))


def expected_pose(mini, channel, time):
    turn, shift = mini.mounts[channel]
    ego = Rotation.from_quat([0, 0, 0.2, 1])
    return (ego * turn).as_matrix(), ego.apply(shift) + place(time) - np.array(place(START))


@pytest.mark.parametrize("sweeps", [False, True])
def test_every_record_is_placed_by_its_own_pose(mini, sweeps):
    scene = validate(nuscenes.load(mini.root, "scene-0061", sweeps=sweeps), decode=True)
    steps = 15 if sweeps else 3
    assert len(scene.times) == len(scene.sweeps) == steps and len(scene.frames) == 2 * steps
    start = START - 10_000 if sweeps else START
    shift = np.array(place(start)) - place(START)
    for frame in scene.frames:
        time = int(frame.image.path.stem)
        assert (
            frame.time == pytest.approx((time - start) * 1e-6)
            and abs(frame.time - scene.times[frame.time_index]) < 0.05
        )
        rotation, center = expected_pose(mini, frame.camera, time)
        np.testing.assert_allclose(frame.world_from_camera[:3, :3], rotation, atol=1e-9)
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], center - shift, atol=1e-6)
        assert frame.K.tolist() == [[30, 0, 12.5], [0, 31, 8.5], [0, 0, 1]]
    sweep = scene.sweeps[-1]
    rotation, center = expected_pose(mini, "LIDAR_TOP", int(sweep.points.name.split("/")[-1].split(".")[0]))
    np.testing.assert_allclose(sweep.world_from_lidar[:3, 3], center - shift, atol=1e-6)
    raw = np.fromfile(sweep.points.name, np.float32).reshape(-1, 5)
    np.testing.assert_allclose(sweep.points.load(), raw[:, :4] / [1, 1, 1, 255], rtol=1e-6)


def test_boxes_of_key_frames_are_as_labeled_and_between_them_interpolated(mini):
    keys, dense = (nuscenes.load(mini.root, "scene-0061", sweeps=sweeps) for sweeps in (False, True))
    for step in range(3):
        (box,) = boxes_at(keys, step)
        np.testing.assert_allclose(box.world_from_object[:3, 3], [10 + 4 * step, 0, 1], atol=1e-9)
        np.testing.assert_allclose(box.world_from_object[:3, :3], mini.label_turns[step].as_matrix(), atol=1e-9)
        assert box.size.tolist() == [4.4, 1.9, 1.6] and (box.category, box.num_points) == ("vehicle", 30 + step)
    assert len(dense.boxes) == 10  # the first image is taken before the first label
    for box in dense.boxes:
        time = dense.times[box.time_index] * 1e6 - 10_000
        np.testing.assert_allclose(box.world_from_object[:2, 3], [10.06 + 4 * time / 5e5, 0], atol=1e-6)
        yaw = np.arctan2(box.world_from_object[1, 0], box.world_from_object[0, 0])
        assert yaw == pytest.approx(0.2 + 0.1 * time / 5e5, abs=1e-6) and box.num_points == -1


def test_the_map_near_the_way_is_read(mini):
    places = {"a": (900, 790), "b": (910, 790), "c": (910, 801), "d": (1500, 801)}
    content = {
        "node": [{"token": t, "x": x, "y": y} for t, (x, y) in places.items()],
        "line": [{"token": "l", "node_tokens": ["a", "b", "d"]}, {"token": "far", "node_tokens": ["d", "d"]}],
        "polygon": [
            {"token": "p", "exterior_node_tokens": ["a", "b", "c"], "holes": [{"node_tokens": ["a", "b", "c"]}]}
        ],
        "lane_divider": [{"line_token": "l"}],
        "road_divider": [{"line_token": "far"}],
        "ped_crossing": [{"polygon_token": "p"}],
        "drivable_area": [{"polygon_tokens": ["p"]}],
    }
    path = mini.root / "maps/expansion/singapore-onenorth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    scene = validate(nuscenes.load(mini.root, "scene-0061"))
    assert [lane.kind for lane in scene.lanes] == ["lane_line", "crosswalk", "road_edge", "road_edge"]
    np.testing.assert_allclose(scene.lanes[0].points, [[0, -10, 0], [10, -10, 0]], atol=1e-9)
    np.testing.assert_allclose(scene.lanes[1].points[[0, -1]], [[0, -10, 0]] * 2, atol=1e-9)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"singapore-onenorth.json: lacks an entry \(KeyError\('node'\)\)"):
        nuscenes.load(mini.root, "scene-0061")
    path.unlink()


def test_scenes_are_named_in_the_source(mini):
    assert len(open_source(f"{mini.root}?scene=scene-0061&sweeps=yes&frames=2:5").frames) == 6
    with pytest.raises(ValueError, match=r"invalid \?scene=: expected one of scene-0061, scene-0103"):
        open_source(str(mini.root))
    with pytest.raises(ValueError, match=r"invalid \?version=v2: expected one of v1.0-mini"):
        open_source(f"{mini.root}?version=v2")
    with pytest.raises(ValueError, match="scene-0103 has no records of LIDAR_TOP"):
        open_source(f"{mini.root}?scene=scene-0103")
    with pytest.raises(ValueError, match=r"invalid \?sweeps=maybe: expected yes or no"):
        open_source(f"{mini.root}?sweeps=maybe")


def test_broken_tables_and_scans_give_one_sentence(mini, tmp_path):
    scan = tmp_path / "a.pcd.bin"
    scan.write_bytes(b"12345")
    with pytest.raises(ValueError, match=r"a\.pcd\.bin: has 5 bytes, not five numbers"):
        nuscenes.read_scan(scan)
    path = mini.root / "v1.0-mini/ego_pose.json"
    whole = path.read_text()
    for text, message in ((whole[:100], r"ego_pose\.json: not valid JSON"), ("[]", r"lack an entry \(KeyError")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            nuscenes.load(mini.root, "scene-0061")
    path.write_text(whole)


def test_categories():
    names = ["vehicle.bus.rigid", "vehicle.bicycle", "human.pedestrian.adult", "movable_object.barrier"]
    assert [category(name) for name in names] == ["vehicle", "cyclist", "pedestrian", "other"]
    one = nuscenes.interpolate(np.zeros(1), np.array([[1.0, 0, 0, 0]]), np.ones((1, 3)), np.zeros(2))
    np.testing.assert_array_equal(invert_rigid(one)[:, :3, 3], -np.ones((2, 3)))
