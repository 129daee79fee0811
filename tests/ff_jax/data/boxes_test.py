"""Projected boxes against sampled points, labels drawn by people and LiDAR; occlusion against marching rays."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.boxes import EDGES, NEAR, actor_region, corners, occluded_share, project_boxes
from ff_jax.data.formats import cameras_json, waymo_frame
from ff_jax.data.loader import load_mask
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import OPENCV_FROM_EGO, boxes_at, invert_rigid, moving_tracks, transform
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.metrics.detectors import box_iou
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 200, 120
K = np.array([[150.0, 0, 104], [0, 140, 57], [0, 0, 1]])


def looking_forward(rng):
    """Return a camera pose that looks roughly along world x."""
    pose = invert_rigid(OPENCV_FROM_EGO)
    pose[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix() @ pose[:3, :3]
    pose[:3, 3] = rng.normal(0, 1, 3)
    return pose


def random_boxes(rng, count, low=(-10.0, -10, -2), high=(30.0, 10, 2)):
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(size=(count, 3)) * [0.1, 0.1, 2]).as_matrix()
    poses[:, :3, 3] = rng.uniform(low, high, (count, 3))
    return poses, rng.uniform([2, 1, 1], [8, 3, 3], (count, 3))


def at(x, y=0.0, z=0.0):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def test_corners_span_the_box_and_edges_join_neighbors():
    rng = seeded_rng()
    poses, sizes = random_boxes(rng, 6)
    for pose, size, actual in zip(poses, sizes, corners(poses, sizes), strict=True):
        local = transform(invert_rigid(pose), actual)
        np.testing.assert_allclose(np.abs(local), np.tile(size / 2, (8, 1)), atol=1e-9)
        assert len(np.unique(np.sign(local), axis=0)) == 8
        lengths = np.sort(np.linalg.norm(actual[EDGES[:, 0]] - actual[EDGES[:, 1]], axis=1))
        np.testing.assert_allclose(lengths, np.sort(np.repeat(size, 4)))


def test_hulls_equal_those_of_points_sampled_on_the_edges():
    """Also where a box reaches through the image plane: there only what lies beyond NEAR is projected."""
    rng = seeded_rng()
    poses, sizes = random_boxes(rng, 90, (-8, -10, -2), (16, 10, 2))
    camera = looking_forward(rng)
    projected = project_boxes(poses, sizes, K, camera, WIDTH, HEIGHT)
    share = np.linspace(0, 1, 6001)[:, None, None]
    cut = 0
    for i, points in enumerate(corners(invert_rigid(camera) @ poses, sizes)):
        edge = (points[EDGES[:, 0]] * (1 - share) + points[EDGES[:, 1]] * share).reshape(-1, 3)
        projection = edge[edge[:, 2] >= NEAR]
        assert projected.in_front[i] == (len(projection) == len(edge))
        np.testing.assert_allclose(projected.nearest[i], edge[:, 2].min())
        np.testing.assert_allclose(projected.depth[i], points[:, 2].mean())
        if not len(projection):
            assert np.isnan(projected.hulls[i]).all() and not projected.partly_inside[i]
            continue
        cut += len(projection) < len(edge)
        pixels = (projection @ K.T)[:, :2] / projection[:, 2:]
        # Next to the plane at NEAR, one step along an edge is many pixels.
        np.testing.assert_allclose(projected.hulls[i], [*pixels.min(0), *pixels.max(0)], rtol=0.04, atol=0.05)
    assert cut > 3


def test_flags_say_where_the_hull_is():
    camera, size = invert_rigid(OPENCV_FROM_EGO), np.array([[2.0, 2, 2]])
    cases = {
        (20, 0, 0): (True, True, True),
        (20, 15, 0): (True, False, True),  # sticks out on the left
        (20, 60, 0): (True, False, False),
        (0, 0, 0): (False, False, True),  # around the camera
        (-20, 0, 0): (False, False, False),
    }
    for place, expected in cases.items():
        actual = project_boxes(at(*place)[None], size, K, camera, WIDTH, HEIGHT)
        assert (actual.in_front[0], actual.fully_inside[0], actual.partly_inside[0]) == expected, place
    around = project_boxes(at(0)[None], size, K, camera, WIDTH, HEIGHT).hulls[0]
    assert (around[:2] < 0).all() and (around[2:] > [WIDTH, HEIGHT]).all()


def test_no_boxes():
    empty = np.zeros((0, 4, 4)), np.zeros((0, 3)), K, np.eye(4), WIDTH, HEIGHT
    assert project_boxes(*empty).hulls.shape == (0, 4) and occluded_share(*empty).shape == (0,)


def test_a_nearer_box_hides_the_half_that_it_covers():
    camera = invert_rigid(OPENCV_FROM_EGO)
    # The far face spans y -2..2 at x = 20; the near one y 0..2 at x = 10, that is 0..4 at the distance of the far one.
    poses, sizes = np.stack([at(20.5), at(10, 1), at(9, -9)]), np.array([[1.0, 4, 2], [1e-6, 2, 4], [1, 1, 1]])
    shares = occluded_share(poses, sizes, K, camera, WIDTH, HEIGHT)
    np.testing.assert_allclose(shares, [0.5, 0, 0], atol=0.03)
    np.testing.assert_allclose(occluded_share(poses[::-1], sizes[::-1], K, camera, WIDTH, HEIGHT), shares[::-1])
    np.testing.assert_allclose(occluded_share(poses[:1], sizes[:1], K, camera, WIDTH, HEIGHT), [0])


def test_occlusion_equals_marching_along_rays():
    rng = seeded_rng()
    poses, sizes = random_boxes(rng, 8, (6, -4, -2), (25, 4, 2))
    camera = looking_forward(rng)
    shares = occluded_share(poses, sizes, K, camera, WIDTH, HEIGHT)
    v, u = np.mgrid[:HEIGHT:2, :WIDTH:2] + 1.0
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1).reshape(-1, 3)
    first = np.full((len(sizes), len(rays)), np.inf)
    for depth in np.arange(60, NEAR, -0.05):
        world = transform(camera, rays * depth)
        for i, (pose, size) in enumerate(zip(poses, sizes, strict=True)):
            first[i, (np.abs(transform(invert_rigid(pose), world)) <= size / 2).all(1)] = depth
    compared = 0
    for i in range(len(sizes)):
        hit = np.isfinite(first[i])
        if hit.sum() > 150:
            # Boxes may reach into one another, so what hides a box can be as near as the box itself.
            behind = first[i, hit] - np.delete(first, i, 0).min(0)[hit]
            occluded, same = (behind > 0.1).mean(), (np.abs(behind) <= 0.1).mean()
            assert abs(shares[i] - occluded) < 0.1 + same
            compared += 1
    assert compared > 0


def test_a_depth_map_hides_what_is_behind_it():
    camera = invert_rigid(OPENCV_FROM_EGO)
    poses, sizes = np.stack([at(20.0), at(5.0, 1)]), np.array([[2.0, 4, 2], [1.0, 1, 1]])
    depth = np.full((HEIGHT, WIDTH), np.inf)
    depth[:, : int(K[0, 2])] = 10.0  # a wall in the left half of the image
    shares = occluded_share(poses[:1], sizes[:1], K, camera, WIDTH, HEIGHT, depth)
    np.testing.assert_allclose(shares, [0.5], atol=0.05)
    surface = np.full((HEIGHT, WIDTH), 19.0)  # the box's own front
    np.testing.assert_allclose(occluded_share(poses[:1], sizes[:1], K, camera, WIDTH, HEIGHT, surface), [0])
    np.testing.assert_allclose(occluded_share(poses, sizes, K, camera, WIDTH, HEIGHT, depth)[1], 0)


@pytest.mark.assets
def test_waymo_boxes_are_where_people_drew_them(assets):
    """Large vehicles that little hides, in undistorted coordinates; people drew only what is visible."""
    scene = waymo_frame.load(assets / "data/waymo_1frame_5cam")
    labels_2d = json.loads((assets / "data/waymo_1frame_5cam/frame.json").read_text())["boxes2d"]
    poses, sizes = np.stack([b.world_from_object for b in scene.boxes]), np.stack([b.size for b in scene.boxes])
    compared = []
    for frame in scene.frames:
        view = (frame.K, frame.world_from_camera, frame.width, frame.height)
        projected, occluded = project_boxes(poses, sizes, *view), occluded_share(poses, sizes, *view)
        clipped = np.clip(projected.hulls, 0, [frame.width, frame.height] * 2)
        in_image = (clipped[:, 2:] - clipped[:, :2]).prod(1) / (projected.hulls[:, 2:] - projected.hulls[:, :2]).prod(1)
        for i, box in enumerate(scene.boxes):
            if box.category == "vehicle" and box.num_points > 500 and in_image[i] > 0.2 and occluded[i] < 0.5:
                people = [b for b in labels_2d[frame.camera] if b["type"] == "TYPE_VEHICLE"]
                edges = [
                    [b["cx"] - b["w"] / 2, b["cy"] - b["h"] / 2, b["cx"] + b["w"] / 2, b["cy"] + b["h"] / 2]
                    for b in people
                ]
                compared.append(box_iou(clipped[i : i + 1], np.array(edges)).max())
    assert len(compared) >= 5 and min(compared) > 0.6 and np.median(compared) > 0.75


@pytest.mark.assets
def test_lidar_points_in_a_ddad_box_fall_into_its_hull(assets):
    scene = cameras_json.load(assets / "data/ddad_dgp_6cam")
    world, counted = scene.sweeps[0].load_world().astype(float), 0
    for frame in (f for f in scene.frames if f.time_index == 0):
        for box in boxes_at(scene, 0):
            inside = world[inside_box(box, world)]
            view = (frame.K, frame.world_from_camera, frame.width, frame.height)
            projected = project_boxes(box.world_from_object[None], box.size[None], *view)
            if len(inside) and projected.in_front[0]:
                points = transform(invert_rigid(frame.world_from_camera), inside) @ frame.K.T
                pixels, hull = points[:, :2] / points[:, 2:], projected.hulls[0]
                assert (pixels >= hull[:2] - 1e-6).all() and (pixels <= hull[2:] + 1e-6).all()
                counted += len(inside)
    assert counted > 100


def test_the_region_of_actors_covers_what_moves():
    log = street_log(0, StreetConfig(num_frames=4, moving=True), 104, 64, lidar=None)
    names, frame = tuple(moving_tracks(log)), log.frames[1]
    assert len(names) == 3
    moving, region = load_mask(frame, "dynamic") > 0.5, actor_region(log, frame, names)
    assert moving.sum() >= 10 and not (moving & ~region).any() and region.mean() < 0.3
    assert not actor_region(log, frame, ()).any()
