"""Rigid actors: their poses, their colors, and their posterior."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.data.scene_data import Box, SceneData
from ff_jax.render.camera import make_camera
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import PointCloud, SceneModel, compose, render_scene
from ff_jax.scene.actors import Tracks, distance_outside_box, identity_motion, poses_at, roughness, sh_rotations
from ff_jax.scene.scene import with_actors
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train.config import ReconConfig
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import Mean2dGradStats, SplitConfig
from ff_jax.train.densify.step import make_density_step
from ff_jax.train.optimizer import ScheduleScale, make_optimizer
from ff_jax.train.state import init_state
from kernels import sh_basis
from tests.random_inputs import seeded_rng
from tests.scenes import make_view, normal, scene_from_points

SETTINGS = RenderSettings(capacity=8192, tile=8, implementation="xla")
K = np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]])
M, SLOTS, FIXED = 30, 48, 40
SCALE = ScheduleScale(radius=2.0, steps=30_000)


@jax.jit
def image_of(scene, view):
    return render_scene(SceneModel(scene, SETTINGS, 3), view).rgb


@jax.jit
def observe(scene, view):
    """Render a view without the sky; return its image, its opacity and its information about the Gaussians."""
    model = SceneModel(scene, SETTINGS, 3)
    out, inputs = render_scene(model, view), model.render_input(view)
    image = out.linear - (1 - out.alpha[..., None]) * out.sky
    return image, out.alpha, eig.accumulate(eig.init_precision(inputs.world.gaussians), inputs, image, noise=0.1)


def random_pose(rng, spread=0.3):
    pose = np.eye(4)
    pose[:3, :3] = np.asarray(jaxlie.SO3.exp(jnp.asarray(rng.normal(0, 0.6, 3), jnp.float32)).as_matrix())
    pose[:3, 3] = rng.normal(0, spread, 3)
    return pose


def tracks_of(poses, present=None, soft=False):
    """Make the tracks of one actor from its poses, one second apart."""
    present = np.ones(len(poses), bool) if present is None else present
    return Tracks(
        times=jnp.arange(len(poses), dtype=jnp.float32),
        quats=jaxlie.SO3.from_matrix(jnp.asarray(poses[:, :3, :3], jnp.float32)).wxyz[None],
        positions=jnp.asarray(poses[None, :, :3, 3], jnp.float32),
        present=jnp.asarray(present)[None],
        sizes=jnp.ones((1, 3)),
        soft=jnp.array([soft]),
        slots=SLOTS,
    )


def background(rng, count=20):
    xyz, rgb = rng.uniform([-2, -1, 6], [2, 1, 8], (count, 3)), rng.uniform(size=(count, 3))
    return scene_from_points(xyz, rgb, 0.2, FIXED, sh_degree=3)


def scene_of(rng, tracks):
    """Make a scene with one actor whose colors depend on the direction, and anisotropic Gaussians."""
    xyz = jnp.asarray(rng.uniform(-0.5, 0.5, (M, 3)), jnp.float32)
    rgb, owner = jnp.asarray(rng.uniform(size=(M, 3)), jnp.float32), jnp.zeros(M, jnp.int32)
    scene = with_actors(background(rng), tracks, PointCloud(xyz, rgb, jnp.full(M, 0.15)), owner, opacity=0.6)
    g = scene.params.gaussians
    sh = g.sh.at[FIXED:, 1:].set(normal(rng, *g.sh[FIXED:, 1:].shape, std=0.15))
    log_scales = g.log_scales.at[FIXED:].add(normal(rng, SLOTS, 3, std=0.4))
    g = g.replace(sh=sh, quats=g.quats.at[FIXED:].set(normal(rng, SLOTS, 4)), log_scales=log_scales)
    return scene.replace(params=scene.params.replace(gaussians=g))


def view_at(time, pose):
    return make_view(make_camera(K, pose, 40, 24), time=time)


def without_background(scene):
    return scene.replace(alive=scene.alive.at[:FIXED].set(False))


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_rotated_coefficients_have_the_same_color_from_a_rotated_direction(coefficients):
    rng = seeded_rng()
    R = jnp.asarray(np.stack([random_pose(rng)[:3, :3] for _ in range(3)]), jnp.float32)
    d = rng.normal(size=(20, 3))
    d = jnp.asarray(d / np.linalg.norm(d, axis=1, keepdims=True), jnp.float32)
    expected = sh_basis(jnp.einsum("aij,mi->amj", R, d), coefficients)
    rotated = jnp.einsum("mk,akj->amj", sh_basis(d, coefficients), sh_rotations(R, coefficients))
    np.testing.assert_allclose(rotated, expected, atol=2e-5)


@pytest.mark.slow
def test_a_camera_that_moves_along_gets_the_same_image_and_information():
    """Geometry, colors and the precision of both depend only on the camera in the object frame."""
    rng = seeded_rng()
    poses = np.stack([random_pose(rng), random_pose(rng)])
    scene, object_camera = without_background(scene_of(rng, tracks_of(poses))), np.eye(4)
    object_camera[2, 3] = -4.0  # meters behind the actor, pointing at it
    first, second = (observe(scene, view_at(time, pose @ object_camera)) for time, pose in enumerate(poses))
    assert float(first[1].max()) > 0.5
    for a, b in zip(first[:2], second[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    for name in ("geometry", "color"):
        a, b = (np.asarray(getattr(x[2], name)) for x in (first, second))
        assert np.linalg.norm(a - b) < 2e-2 * np.linalg.norm(a), name


def test_paths_pass_through_their_keys_and_are_straight_between():
    rng = seeded_rng()
    poses = np.stack([random_pose(rng) for _ in range(4)])
    tracks = tracks_of(poses, np.array([True, True, False, True]))
    for time in range(4):
        at = poses_at(tracks, identity_motion(tracks), jnp.float32(time))
        np.testing.assert_allclose(at.positions[0], poses[time, :3, 3], atol=1e-6)
        np.testing.assert_allclose(jaxlie.SO3(at.quats[0]).as_matrix(), poses[time, :3, :3], atol=1e-5)
        assert bool(at.present[0]) == (time != 2)
    half = poses_at(tracks, identity_motion(tracks), jnp.float32(0.5))
    np.testing.assert_allclose(half.positions[0], poses[:2, :3, 3].mean(0), atol=1e-6)
    first, second = (jaxlie.SO3.from_matrix(jnp.asarray(p[:3, :3], jnp.float32)) for p in poses[:2])

    def angle(a, b):
        return float(jnp.linalg.norm((a.inverse() @ b).log()))

    assert abs(angle(first, jaxlie.SO3(half.quats[0])) - 0.5 * angle(first, second)) < 1e-3
    beyond = poses_at(tracks, identity_motion(tracks), jnp.float32(9))
    np.testing.assert_allclose(beyond.positions[0], poses[3, :3, 3], atol=1e-6)


@pytest.mark.slow
def test_absent_actors_are_not_alive_and_the_background_does_not_change():
    rng = seeded_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2), np.array([True, False])))
    present, absent = (compose(scene, jnp.float32(t)) for t in (0.0, 1.0))
    assert int(present.alive.sum()) == 20 + M and int(absent.alive.sum()) == 20
    for name in ("means", "quats", "sh"):
        own = getattr(scene.params.gaussians, name)[:FIXED]
        np.testing.assert_array_equal(getattr(present.gaussians, name)[:FIXED], own)


@pytest.mark.slow
def test_corrections_get_gradients_at_the_keys_of_the_view_that_reduce_the_error():
    rng = seeded_rng()
    poses = np.stack([random_pose(rng, 0.1) for _ in range(3)])
    poses[:, 2, 3] += 4
    scene = scene_of(rng, tracks_of(poses))
    view = view_at(1, np.eye(4))
    truth = image_of(scene, view)

    def loss(actors):
        moved = scene.replace(params=scene.params.replace(actors=actors))
        return jnp.mean((image_of(moved, view) - truth) ** 2)

    wrong = identity_motion(scene.tracks)
    wrong = wrong.replace(moves=wrong.moves.at[0, 1].set(jnp.array([0.06, -0.05, 0.0])))
    value, gradient = jax.jit(jax.value_and_grad(loss))(wrong)
    assert float(value) > 0 and float(jnp.abs(gradient.turns[0, 1]).max()) > 0
    assert float(jnp.abs(gradient.moves[0, [0, 2]]).max()) == 0
    assert float(jnp.vdot(gradient.moves, wrong.moves)) > 0  # a step against the gradient reduces the error


@pytest.mark.slow
def test_density_control_keeps_the_slots_of_background_and_actors_apart():
    rng = seeded_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2)))
    config = ReconConfig(sh_degree=3, budget=FIXED, density=DensityConfig(growth=9.0))
    state = init_state(jax.random.key(1), scene, make_optimizer(config.optim, SCALE))
    grown = make_density_step(config)(state, SCALE).scene
    assert int(grown.alive[:FIXED].sum()) == FIXED and int(grown.alive[FIXED:].sum()) == SLOTS
    np.testing.assert_array_equal(grown.node[:FIXED], 0)
    np.testing.assert_array_equal(grown.node[FIXED:], 1)
    assert float(jnp.abs(grown.params.gaussians.means[FIXED:]).max()) < 1  # copies of actors stay in object frames


@pytest.mark.slow
def test_splitting_keeps_nodes_and_divides_the_slots_among_actors():
    rng = seeded_rng()
    one = tracks_of(np.stack([np.eye(4)] * 2))
    names = ("quats", "positions", "present", "sizes", "soft")
    tracks = one.replace(**{name: jnp.concatenate([getattr(one, name)] * 2) for name in names})
    scene = scene_of(rng, tracks)
    scene = scene.replace(node=scene.node.at[FIXED + 20 : FIXED + M].set(2))  # 20 and 10 of them
    config = ReconConfig(
        sh_degree=3, budget=30, density=DensityConfig(method="split"), split=SplitConfig(prune_above=9.0)
    )
    state = init_state(jax.random.key(1), scene, make_optimizer(config.optim, SCALE), "split")
    large = Mean2dGradStats(jnp.ones(FIXED + SLOTS), jnp.ones(FIXED + SLOTS, int))
    grown = make_density_step(config)(state.replace(grad_stats=large), SCALE).scene
    count = [int((grown.alive & (grown.node == k)).sum()) for k in range(3)]
    assert count == [30, SLOTS // 2, 20]  # up to the budget, up to the share of one of two actors, one child each
    assert int(grown.alive[:FIXED].sum()) == 30
    np.testing.assert_array_equal(grown.node[:FIXED], 0)


def test_distance_outside_the_box():
    rng = seeded_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2)))
    own = jax.tree.map(lambda x: x[FIXED:], scene.params.gaussians)
    np.testing.assert_array_equal(distance_outside_box(own, jnp.zeros(SLOTS, int), scene.tracks.sizes), 0)
    far = own.replace(means=own.means.at[0].set(jnp.array([0.7, 0.0, -0.9])))
    np.testing.assert_allclose(distance_outside_box(far, jnp.zeros(SLOTS, int), scene.tracks.sizes)[0], 0.6, rtol=1e-5)


@pytest.mark.slow
def test_a_steady_path_has_no_roughness_at_uneven_key_times():
    rng = seeded_rng()
    times, speed, spin = np.array([0.0, 0.1, 0.3, 0.4, 0.8]), rng.normal(size=3), rng.normal(size=3)
    poses = np.stack([np.eye(4)] * 5)
    for pose, t in zip(poses, times, strict=True):
        pose[:3, :3] = np.asarray(jaxlie.SO3.exp(jnp.asarray(spin * t, jnp.float32)).as_matrix())
        pose[:3, 3] = speed * t
    tracks = tracks_of(poses).replace(times=jnp.asarray(times, jnp.float32))
    assert float(roughness(tracks, identity_motion(tracks))) < 1e-9
    offset = identity_motion(tracks).replace(moves=jnp.zeros((1, 5, 3)).at[0, 2, 1].set(0.3))
    # By hand: the middle key is 0.3 m beside the line of its neighbors, and they are beside theirs in proportion.
    shares = np.array([0.1 / 0.3, 1.0, 0.4 / 0.5])
    np.testing.assert_allclose(roughness(tracks, offset), np.mean((0.3 * shares) ** 2), rtol=1e-4)
    # The ends of the box are half a meter from its center, so rotations count half.
    fixed = tracks_of(np.stack([np.eye(4)] * 5)).replace(times=tracks.times)
    turned = roughness(fixed, identity_motion(fixed).replace(turns=offset.moves))
    np.testing.assert_allclose(turned, np.mean((0.15 * shares) ** 2), rtol=1e-4)


def log_of(boxes, count=5):
    poses = np.broadcast_to(np.eye(4), (count, 4, 4))
    return SceneData("a", "b", "c", np.arange(count) * 0.1, poses, frames=(), boxes=tuple(boxes))


def test_tracks_are_made_of_the_boxes_that_move():
    def box(name, time, x):
        pose = np.eye(4)
        pose[0, 3] = x
        return Box(name, "vehicle", time, pose, np.array([4.0, 2.0, 1.5]))

    log = log_of([box("car", t, 2.0 * t) for t in (0, 1, 3)] + [box("parked", t, 9.0) for t in range(5)])
    assert actor_names(log, range(5)) == ("car",)
    assert actor_names(log, (2, 3, 4)) == ()
    tracks = make_tracks(log, ("car",), range(5), 10)
    np.testing.assert_allclose(tracks.positions[0, :, 0], [0, 2, 4, 6, 8], atol=1e-5)  # continues at its speed
    np.testing.assert_array_equal(tracks.present[0], [True, True, False, True, False])
    np.testing.assert_allclose(tracks.sizes, [[4, 2, 1.5]])
    with pytest.raises(ValueError, match="'bus' has 0 boxes"):
        make_tracks(log, ("bus",), range(5), 10)
