import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.points.initial import initial_points
from ff_jax.data.points.lidar import lidar_depth
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import boxes_at, invert_rigid, moving_tracks
from ff_jax.data.synthetic import LidarPattern, StreetConfig, driving_log, edits, make_street
from ff_jax.data.synthetic.ray_intersections import geometry_table
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 48, 32
CONFIG = StreetConfig(num_frames=3, samples=1)
PATTERN = LidarPattern(beams=8, azimuths=72)


def make_scene():
    return driving_log.street_log(
        5, CONFIG, WIDTH, HEIGHT, ("front", "front_left"), test_shifts=(0.0, 1.5), lidar=PATTERN
    )


@pytest.fixture(scope="module")
def scene():
    return make_scene()


def test_making_the_log_renders_nothing(monkeypatch):
    for name in ("_render", "_simulate_lidar"):
        monkeypatch.setattr(driving_log, name, lambda *a, **k: pytest.fail("rendered"))
    scene = driving_log.street_log(1, CONFIG, WIDTH, HEIGHT)
    assert validate(scene).cameras == ("front",) and len(scene.frames) == len(scene.sweeps) == 3


def test_frames_train_on_the_lane_and_test_beside_it(scene):
    assert len(scene.frames) == 12 and scene.num_exposures == 1
    train = {(f.camera, f.time_index): f for f in scene.frames if f.split == "train"}
    for test in (f for f in scene.frames if f.split == "test"):
        beside = train[test.camera, test.time_index]
        ego = invert_rigid(scene.world_from_ego[test.time_index])[:3, :3]
        shifted = ego @ (test.world_from_camera - beside.world_from_camera)[:3, 3]
        np.testing.assert_allclose(shifted, [0, 1.5, 0], atol=1e-5)
        np.testing.assert_allclose(test.world_from_camera[:3, :3], beside.world_from_camera[:3, :3])


def test_images_masks_and_lidar_are_valid_and_repeatable(scene, monkeypatch):
    validate(scene, decode=True)
    frame = scene.frames[0]
    image = load_image(frame)
    assert image.std() > 0.05 and np.array_equal(image * 255, np.rint(image * 255))
    sky = load_mask(frame, "sky")
    assert 0.02 < sky.mean() < 0.7 and sky[:8].mean() > sky[-8:].mean() == 0
    points = scene.sweeps[1].points.load()
    np.testing.assert_array_equal(make_scene().sweeps[1].points.load(), points)
    for name in ("_render", "_simulate_lidar"):
        monkeypatch.setattr(driving_log, name, lambda *a, **k: pytest.fail("computed again"))
    np.testing.assert_array_equal(load_image(frame), image)
    np.testing.assert_array_equal(scene.sweeps[1].points.load(), points)
    with pytest.raises(ValueError, match="read-only"):
        points[0] = 0


def test_lidar_agrees_with_sky_road_and_boxes(scene):
    frame = scene.frames[0]
    depth = lidar_depth(scene, frame)
    sky = load_mask(frame, "sky")
    assert (depth > 0).sum() > 20 and ((depth > 0) & (sky > 0)).sum() <= 0.1 * (depth > 0).sum()
    points = scene.sweeps[0].load_world()
    assert -0.2 < np.percentile(points[:, 2], 10) < 0.3  # the road is at z = 0
    on_vehicles = sum(inside_box(box, points, 0.1).sum() for box in boxes_at(scene, 0))
    assert on_vehicles > 0
    xyz, rgb = initial_points(scene, 100, seeded_rng())
    assert 20 < len(xyz) <= 100 and np.isfinite(xyz).all() and rgb.max() <= 1


def test_what_moves_has_a_mask_and_a_track(scene):
    assert moving_tracks(scene, min_path=0.5) and {box.category for box in scene.boxes} == {"vehicle"}
    still = driving_log.street_log(5, StreetConfig(num_frames=3, moving=False), WIDTH, HEIGHT)
    assert not moving_tracks(still, 0.01) and set(still.frames[0].masks) == {"sky"}
    assert {lane.kind for lane in scene.lanes} == {"lane_line", "road_edge", "crosswalk"}


def test_exposure_drift_gives_every_time_its_own_exposure():
    config = StreetConfig(num_frames=3, exposure_drift=True)
    drifting = driving_log.street_log(5, config, WIDTH, HEIGHT, ("front", "front_left"))
    assert [f.exposure_id for f in drifting.frames] == [0, 0, 1, 1, 2, 2]


def test_folder_form_is_exact(scene, tmp_path):
    path = write_folder(scene, tmp_path / "street")
    read = validate(path, decode=True)
    for a, b in zip(scene.frames, read_folder(path).frames, strict=True):
        np.testing.assert_array_equal(load_image(a), load_image(b))
        np.testing.assert_array_equal(load_mask(a, "sky"), load_mask(b, "sky"))
    assert len(read.lanes) == len(scene.lanes)


@pytest.mark.parametrize("settings", [{"width": 0}, {"cameras": ()}, {"cameras": ("roof",)}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(ValueError, match=r"width=0|cameras=\(\)|name='roof'"):
        driving_log.street_log(0, CONFIG, **settings)


def test_edited_streets_differ_where_the_vehicle_was_and_is():
    config = StreetConfig(num_frames=2, moving=True)

    def make(edit=None):
        return driving_log.street_log(0, config, 104, 64, lidar=None, edit=edit)

    plain = make()
    track = max((box for box in plain.boxes if box.time_index == 0 and int(box.track_id) > 24), key=lambda b: b.size[0])
    number = int(track.track_id)
    gone, shifted = (
        make(lambda w: edits.remove_vehicle(w, number)),
        make(lambda w: edits.move_vehicle(w, number, np.array([3.0, 1.0, 0]))),
    )
    assert track.track_id not in {box.track_id for box in gone.boxes}
    box = next(box for box in shifted.boxes if box.track_id == track.track_id and box.time_index == 0)
    by = track.world_from_object[:3, :3].T @ (box.world_from_object - track.world_from_object)[:3, 3]
    np.testing.assert_allclose(by, [3, 1, 0], atol=1e-4)
    images = [scene.frames[0].image.load() for scene in (plain, gone, shifted)]
    for other in images[1:]:
        changed = np.abs(other - images[0]).max(-1) > 0.02
        assert 0 < changed.mean() < 0.2


def test_a_moment_is_where_the_drive_is_then():
    street = make_street(3, StreetConfig(num_frames=3, exposure_drift=True))
    table = jax.jit(lambda street, frame: geometry_table(street.primitives, street.vehicles, frame))
    for index in range(3):
        then = edits.single_frame(street, index)
        np.testing.assert_array_equal(table(then, jnp.float32(0)), table(street, jnp.float32(index)))
        for name in ("times", "exposures", "world_from_ego"):
            np.testing.assert_array_equal(getattr(then, name), getattr(street, name)[index : index + 1])
    assert np.abs(table(street, jnp.float32(0)) - table(street, jnp.float32(2))).max() > 0.5
