"""Rigid actors: where they are, what they look like from there, and what is learnt about them."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.data.scene_data import Box, SceneData
from ff_jax.render.camera import make_camera
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import compose, init_scene, render_scene
from ff_jax.scene.actors import Tracks, outside, poses_at, roughness, sh_rotations, still
from ff_jax.scene.scene import View, with_actors
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import Pull, SplitConfig
from ff_jax.train.densify.step import make_density_step
from ff_jax.train.state import Pace, init_state, make_optimizer
from ff_jax.train.step import ReconConfig
from kernels.project import sh_basis

SETTINGS = RenderSettings(capacity=8192, tile=8, implementation="xla")
K = np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]])
M, SLOTS, FIXED = 30, 48, 40
PACE = Pace(radius=2.0, steps=30_000)
show = jax.jit(lambda scene, view: render_scene(scene, view, SETTINGS).rgb)


@jax.jit
def learn(scene, view):
    """Return what a view shows without the sky, its opacity, and what it tells about the Gaussians."""
    out = render_scene(scene, view, SETTINGS)
    gaussians, alive, axes = compose(scene, view.time)
    flat = out.linear - (1 - out.alpha[..., None]) * out.sky
    view_of = eig.init_precision(gaussians), gaussians, alive, view.camera, flat, SETTINGS
    return flat, out.alpha, eig.accumulate(*view_of, noise=0.1, axes=axes)


def random_pose(rng, spread=0.3):
    pose = np.eye(4)
    pose[:3, :3] = np.asarray(jaxlie.SO3.exp(jnp.asarray(rng.normal(0, 0.6, 3), jnp.float32)).as_matrix())
    pose[:3, 3] = rng.normal(0, spread, 3)
    return pose


def tracks_of(poses, present=None, soft=False):
    """Return the tracks of one actor with the given poses, one second apart."""
    quats = jaxlie.SO3.from_matrix(jnp.asarray(poses[:, :3, :3], jnp.float32)).wxyz
    present = np.ones(len(poses), bool) if present is None else present
    times = jnp.arange(len(poses), dtype=jnp.float32)
    positions = jnp.asarray(poses[None, :, :3, 3], jnp.float32)
    placed = times, quats[None], positions, jnp.asarray(present)[None], jnp.ones((1, 3))
    return Tracks(*placed, jnp.array([soft]), slots=SLOTS)


def background(rng, count=20):
    arrays = rng.uniform([-2, -1, 6], [2, 1, 8], (count, 3)), rng.uniform(size=(count, 3)), np.full(count, 0.2)
    arrays = [jnp.asarray(a, jnp.float32) for a in arrays]
    return init_scene(jax.random.key(0), *arrays, capacity=FIXED, sh_degree=3, exposures=1, frames=1, cameras=1)


def scene_of(rng, tracks):
    """Return a scene with one actor whose colours depend on the direction, and flat Gaussians."""
    xyz = jnp.asarray(rng.uniform(-0.5, 0.5, (M, 3)), jnp.float32)
    rgb, owner = jnp.asarray(rng.uniform(size=(M, 3)), jnp.float32), jnp.zeros(M, jnp.int32)
    scene = with_actors(background(rng), tracks, xyz, rgb, jnp.full(M, 0.15), owner, opacity=0.6)
    g = scene.params.gaussians
    sh = g.sh.at[FIXED:, 1:].set(jnp.asarray(rng.normal(0, 0.15, g.sh[FIXED:, 1:].shape), jnp.float32))
    stretch = jnp.asarray(rng.normal(0, 0.4, (SLOTS, 3)), jnp.float32)
    quats = g.quats.at[FIXED:].set(jnp.asarray(rng.normal(size=(SLOTS, 4)), jnp.float32))
    g = g.replace(sh=sh, quats=quats, log_scales=g.log_scales.at[FIXED:].add(stretch))
    return scene.replace(params=scene.params.replace(gaussians=g))


def view_at(time, pose):
    number = jnp.int32
    return View(make_camera(K, pose, 40, 24), number(0), number(-1), number(-1), jnp.float32(time))


def alone(scene):
    """Leave only the actor."""
    return scene.replace(alive=scene.alive.at[:FIXED].set(False))


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_turned_coefficients_show_the_same_colour_from_a_turned_direction(coefficients):
    rng = np.random.default_rng()
    R = jnp.asarray(np.stack([random_pose(rng)[:3, :3] for _ in range(3)]), jnp.float32)
    d = rng.normal(size=(20, 3))
    d = jnp.asarray(d / np.linalg.norm(d, axis=1, keepdims=True), jnp.float32)
    wanted = sh_basis(jnp.einsum("aij,mi->amj", R, d), coefficients)
    got = jnp.einsum("mk,akj->amj", sh_basis(d, coefficients), sh_rotations(R, coefficients))
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_a_camera_that_moves_along_sees_the_same_actor_and_learns_the_same():
    """Geometry, colours and the precision of both depend on the camera in the object frame alone."""
    rng = np.random.default_rng()
    poses = np.stack([random_pose(rng), random_pose(rng)])
    scene, object_camera = alone(scene_of(rng, tracks_of(poses))), np.eye(4)
    object_camera[2, 3] = -4.0  # metres behind the actor, looking at it
    first, second = (learn(scene, view_at(time, pose @ object_camera)) for time, pose in enumerate(poses))
    assert float(first[1].max()) > 0.5
    for a, b in zip(first[:2], second[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    for name in ("geometry", "color"):
        a, b = (np.asarray(getattr(x[2], name)) for x in (first, second))
        assert np.linalg.norm(a - b) < 2e-2 * np.linalg.norm(a), name


def test_paths_pass_through_their_keys_and_straight_between():
    rng = np.random.default_rng()
    poses = np.stack([random_pose(rng) for _ in range(4)])
    tracks = tracks_of(poses, np.array([True, True, False, True]))
    for time in range(4):
        at = poses_at(tracks, still(tracks), jnp.float32(time))
        np.testing.assert_allclose(at.positions[0], poses[time, :3, 3], atol=1e-6)
        np.testing.assert_allclose(jaxlie.SO3(at.quats[0]).as_matrix(), poses[time, :3, :3], atol=1e-5)
        assert bool(at.present[0]) == (time != 2)
    half = poses_at(tracks, still(tracks), jnp.float32(0.5))
    np.testing.assert_allclose(half.positions[0], poses[:2, :3, 3].mean(0), atol=1e-6)
    first, second = (jaxlie.SO3.from_matrix(jnp.asarray(p[:3, :3], jnp.float32)) for p in poses[:2])
    angle = lambda a, b: float(jnp.linalg.norm((a.inverse() @ b).log()))
    assert abs(angle(first, jaxlie.SO3(half.quats[0])) - 0.5 * angle(first, second)) < 1e-3
    beyond = poses_at(tracks, still(tracks), jnp.float32(9))
    np.testing.assert_allclose(beyond.positions[0], poses[3, :3, 3], atol=1e-6)


def test_absent_actors_are_not_there_and_the_background_stays_as_it_is():
    rng = np.random.default_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2), np.array([True, False])))
    here, gone = (compose(scene, jnp.float32(t)) for t in (0.0, 1.0))
    assert int(here.alive.sum()) == 20 + M and int(gone.alive.sum()) == 20
    for name in ("means", "quats", "sh"):
        own = getattr(scene.params.gaussians, name)[:FIXED]
        np.testing.assert_array_equal(getattr(here.gaussians, name)[:FIXED], own)


def test_corrections_get_gradients_at_the_keys_that_are_seen_and_can_be_wrong_by_a_little():
    rng = np.random.default_rng()
    poses = np.stack([random_pose(rng, 0.1) for _ in range(3)])
    poses[:, 2, 3] += 4
    scene = scene_of(rng, tracks_of(poses))
    view = view_at(1, np.eye(4))
    truth = show(scene, view)

    def loss(actors):
        moved = scene.replace(params=scene.params.replace(actors=actors))
        return jnp.mean((render_scene(moved, view, SETTINGS).rgb - truth) ** 2)

    wrong = still(scene.tracks)
    wrong = wrong.replace(moves=wrong.moves.at[0, 1].set(jnp.array([0.06, -0.05, 0.0])))
    value, slope = jax.jit(jax.value_and_grad(loss))(wrong)
    assert float(value) > 0 and float(jnp.abs(slope.turns[0, 1]).max()) > 0
    assert float(jnp.abs(slope.moves[0, [0, 2]]).max()) == 0
    assert float(jnp.vdot(slope.moves, wrong.moves)) > 0  # downhill leads back


def test_density_control_leaves_either_part_its_slots():
    rng = np.random.default_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2)))
    config = ReconConfig(sh_degree=3, budget=FIXED, density=DensityConfig(growth=9.0))
    state = init_state(jax.random.key(1), scene, make_optimizer(config.optim, PACE))
    grown = make_density_step(config)(state, PACE).scene
    assert int(grown.alive[:FIXED].sum()) == FIXED and int(grown.alive[FIXED:].sum()) == SLOTS
    np.testing.assert_array_equal(grown.node[:FIXED], 0)
    np.testing.assert_array_equal(grown.node[FIXED:], 1)
    assert float(jnp.abs(grown.params.gaussians.means[FIXED:]).max()) < 1  # copies of actors stay in object frames


def test_splitting_keeps_nodes_and_gives_every_actor_its_share():
    rng = np.random.default_rng()
    one = tracks_of(np.stack([np.eye(4)] * 2))
    twice = lambda x: jnp.concatenate([x, x])
    names = ("quats", "positions", "present", "sizes", "soft")
    tracks = one.replace(**{name: twice(getattr(one, name)) for name in names})
    scene = scene_of(rng, tracks)
    scene = scene.replace(node=scene.node.at[FIXED + 20 : FIXED + M].set(2))  # 20 and 10 of them
    config = ReconConfig(
        sh_degree=3, budget=30, density=DensityConfig(method="split"), split=SplitConfig(prune_above=9.0)
    )
    state = init_state(jax.random.key(1), scene, make_optimizer(config.optim, PACE), "split")
    loud = Pull(jnp.ones(FIXED + SLOTS), jnp.ones(FIXED + SLOTS, int))
    grown = make_density_step(config)(state.replace(pull=loud), PACE).scene
    count = [int((grown.alive & (grown.node == k)).sum()) for k in range(3)]
    assert count == [30, SLOTS // 2, 20]  # up to the budget, up to the share of one of two actors, one child each
    assert int(grown.alive[:FIXED].sum()) == 30
    np.testing.assert_array_equal(grown.node[:FIXED], 0)


def test_gaussians_outside_their_box_are_measured():
    rng = np.random.default_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2)))
    own = jax.tree.map(lambda x: x[FIXED:], scene.params.gaussians)
    np.testing.assert_array_equal(outside(own, jnp.zeros(SLOTS, int), scene.tracks.sizes), 0)
    far = own.replace(means=own.means.at[0].set(jnp.array([0.7, 0.0, -0.9])))
    np.testing.assert_allclose(outside(far, jnp.zeros(SLOTS, int), scene.tracks.sizes)[0], 0.6, rtol=1e-5)


def test_a_steady_path_is_not_rough_whatever_the_gaps_between_its_keys():
    rng = np.random.default_rng()
    times, speed, spin = np.array([0.0, 0.1, 0.3, 0.4, 0.8]), rng.normal(size=3), rng.normal(size=3)
    poses = np.stack([np.eye(4)] * 5)
    for pose, t in zip(poses, times, strict=True):
        pose[:3, :3] = np.asarray(jaxlie.SO3.exp(jnp.asarray(spin * t, jnp.float32)).as_matrix())
        pose[:3, 3] = speed * t
    tracks = tracks_of(poses).replace(times=jnp.asarray(times, jnp.float32))
    assert float(roughness(tracks, still(tracks))) < 1e-9
    off = still(tracks).replace(moves=jnp.zeros((1, 5, 3)).at[0, 2, 1].set(0.3))
    # By hand: the middle key is 0.3 off its neighbours' line, theirs are off by the share of theirs.
    shares = np.array([0.1 / 0.3, 1.0, 0.4 / 0.5])
    np.testing.assert_allclose(roughness(tracks, off), np.mean((0.3 * shares) ** 2), rtol=1e-4)
    # The ends of the box are half a metre from its centre, so that turns count half.
    fixed = tracks_of(np.stack([np.eye(4)] * 5)).replace(times=tracks.times)
    turned = roughness(fixed, still(fixed).replace(turns=off.moves))
    np.testing.assert_allclose(turned, np.mean((0.15 * shares) ** 2), rtol=1e-4)


def log_of(boxes, count=5):
    poses = np.broadcast_to(np.eye(4), (count, 4, 4))
    return SceneData("a", "b", "c", np.arange(count) * 0.1, poses, frames=(), boxes=tuple(boxes))


def test_tracks_come_from_the_boxes_that_move():
    def box(name, time, x):
        pose = np.eye(4)
        pose[0, 3] = x
        return Box(name, "vehicle", time, pose, np.array([4.0, 2.0, 1.5]))

    log = log_of([box("car", t, 2.0 * t) for t in (0, 1, 3)] + [box("parked", t, 9.0) for t in range(5)])
    assert actor_names(log, range(5)) == ("car",)
    assert actor_names(log, (2, 3, 4)) == ()
    tracks = make_tracks(log, ("car",), range(5), 10)
    np.testing.assert_allclose(tracks.positions[0, :, 0], [0, 2, 4, 6, 8], atol=1e-5)  # goes on at its speed
    np.testing.assert_array_equal(tracks.present[0], [True, True, False, True, False])
    np.testing.assert_allclose(tracks.sizes, [[4, 2, 1.5]])
    with pytest.raises(ValueError, match="'bus' has 0 boxes"):
        make_tracks(log, ("bus",), range(5), 10)
