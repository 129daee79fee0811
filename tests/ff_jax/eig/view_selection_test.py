"""Scores of whole views against dense linear algebra in float64, and the greedy choice."""

import functools

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig import view_selection
from ff_jax.eig.ray_jacobians import ray_jacobians
from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from ff_jax.scene import init_scene
from ff_jax.scene.scene import View

W, H, N, NOISE = 12, 9, 5, 0.05
SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BACKGROUND = jnp.full((H, W, 3), 0.5)
believe = quick(eig.posterior, static_argnames="priors")


@quick
def gain_of_pixels(gaussians, alive, posterior, cam):
    out = render(gaussians, alive, cam, SETTINGS, background=BACKGROUND)
    return eig.eig_map(gaussians, alive, posterior, cam, out.rgb, out.alpha, SETTINGS, noise=NOISE).sum()


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng()


def camera(x=0.0, yaw=0.0):
    pose = np.eye(4)
    pose[:3, :3] = jaxlie.SO3.from_y_radians(yaw).as_matrix()
    pose[0, 3] = x
    return make_camera(np.array([[11.0, 0, W / 2], [0, 11.0, H / 2], [0, 0, 1]]), pose, W, H)


@pytest.fixture(scope="module")
def problem(rng):
    """Overlapping Gaussians, what one view leaves unknown, and dense Jacobians of a new view."""
    fields = dict(
        means=rng.uniform([-1.2, -1, 3], [1.2, 1, 6], (N, 3)),
        quats=rng.normal(size=(N, 4)),
        log_scales=rng.uniform(np.log(0.2), np.log(0.6), (N, 3)),
        logit_opacities=rng.uniform(-1, 2, N),
        sh=rng.normal(0, 0.1, (N, 4, 3)) + 0.4 * (np.arange(4) == 0)[:, None],
    )
    gaussians, alive = Gaussians(**{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}), jnp.arange(N) < N - 1

    @quick
    def told(cam):
        out = render(gaussians, alive, cam, SETTINGS, background=BACKGROUND)
        return eig.accumulate(eig.init_precision(gaussians), gaussians, alive, cam, out.rgb, SETTINGS, noise=NOISE)

    posterior = believe(told(camera()), eig.Priors(background=0.0), gaussians)
    new = camera(0.5, -0.05)
    y, x = jnp.indices((H, W)) + 0.5
    pixels = jnp.stack([x, y], -1).reshape(-1, 2)
    J = quick(lambda p: ray_jacobians(gaussians, alive, new, p, SETTINGS, BACKGROUND.reshape(-1, 3))[1])(pixels)
    F, G = (np.asarray(x, np.float64) for x in (posterior.geometry, posterior.color))
    geometry = np.einsum("pcni,nij->pcnj", np.asarray(J.geometry, np.float64), F).reshape(-1, N, 10)
    color = np.einsum("pcnkd,nkj->pcndj", np.asarray(J.sh, np.float64), G).reshape(-1, N * 3, 4)
    return gaussians, alive, posterior, new, told(new), geometry / NOISE, color / NOISE


def log_det(A):
    return 0.5 * np.linalg.slogdet(np.eye(A.shape[1]) + A.T @ A)[1]


def test_block_gain_equals_dense_blocks(problem):
    *_, posterior, _, told, geometry, color = problem
    want = sum(log_det(geometry[:, n]) for n in range(N)) + sum(log_det(color[:, n]) for n in range(3 * N))
    np.testing.assert_allclose(view_selection.block_gain(told, posterior), want, rtol=2e-3)


def test_joint_gain_equals_the_dense_determinant_and_is_below_blocks_and_pixels(problem):
    gaussians, alive, posterior, new, told, geometry, color = problem
    A = np.concatenate([geometry.reshape(len(geometry), -1), color.reshape(len(color), -1)], 1)
    want = log_det(A)
    run = quick(view_selection.joint_gain, static_argnames=("settings", "probes", "steps"))
    got, error = run(
        jax.random.key(np.random.default_rng().integers(1 << 30)),
        *(gaussians, alive, posterior, new, BACKGROUND, SETTINGS),
        noise=NOISE,
        probes=24,
        steps=50,
    )
    assert abs(got - want) < 5 * error + 0.01 * want and error < 0.1 * want, (got, want, error)
    assert want <= view_selection.block_gain(told, posterior) * 1.001
    assert want <= float(gain_of_pixels(gaussians, alive, posterior, new)) * 1.001


def test_quadrature_with_all_steps_is_exact(rng):
    root = rng.normal(size=(12, 12)) * np.geomspace(0.01, 30, 12)
    A = root @ root.T + np.eye(12)
    values, vectors = np.linalg.eigh(A)
    z = rng.choice([-1.0, 1.0], 12)
    dense = jnp.asarray(A, jnp.float32)
    start = jnp.asarray(z / np.sqrt(12), jnp.float32)
    diagonal, beside = view_selection.lanczos(lambda x: jnp.matmul(dense, x, precision="highest"), start, 12)
    T = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    theta, tau = np.linalg.eigh(np.asarray(T, np.float64))
    got = 12 * np.sum(tau[0] ** 2 * np.log(np.maximum(theta, 1)))
    np.testing.assert_allclose(got, np.sum((vectors.T @ z) ** 2 * np.log(values)), rtol=1e-3)


def test_lanczos_stops_where_the_space_ends():
    diagonal, beside = view_selection.lanczos(lambda x: 3.0 * x, jnp.ones(16) / 4, 5)
    np.testing.assert_allclose(diagonal[0], 3.0, rtol=1e-6)
    assert not np.asarray(beside).any() and np.isfinite(np.asarray(diagonal)).all()


def view(cam):
    return View(cam, jnp.int32(0), jnp.int32(-1), jnp.int32(-1), jnp.float32(0))


@pytest.fixture(scope="module")
def corner(rng):
    """A scene of one crowd ahead and one to the right, and views of them."""
    xyz = np.concatenate([rng.uniform([-1, -1, 3], [1, 1, 5], (6, 3)), rng.uniform([3, -1, -1], [5, 1, 1], (6, 3))])
    xyz = jnp.asarray(xyz, jnp.float32)
    size = dict(capacity=14, sh_degree=0, exposures=1, frames=1, cameras=1)
    scene = init_scene(jax.random.key(0), xyz, jnp.full((12, 3), 0.6), jnp.full(12, 0.3), **size)
    return scene, [view(camera()), view(camera(0.02)), view(camera(0.0, np.pi / 2))]


def test_greedy_choice_prefers_what_was_not_seen(corner):
    scene, candidates = corner
    noise, degree = 0.05, jnp.int32(0)
    seen = view_selection.view_information(scene, candidates[0], SETTINGS, noise, degree)
    choice = view_selection.select_views(
        scene, seen, candidates, 3, SETTINGS, noise=noise, priors=eig.Priors(), sh_degree=0
    )
    assert choice.order[0] == 2 and sorted(choice.order) == [0, 1, 2]
    assert choice.gains[0] >= choice.gains[1] >= choice.gains[2] > 0
    total = jax.tree.map(jnp.add, seen, view_selection.view_information(scene, candidates[2], SETTINGS, noise, degree))
    for i in choice.order[1:]:
        total = jax.tree.map(
            jnp.add, total, view_selection.view_information(scene, candidates[i], SETTINGS, noise, degree)
        )
    jax.tree.map(np.testing.assert_allclose, choice.precision, total)


def test_wanted_views_decide_what_is_chosen(corner):
    scene, (ahead, again, right) = corner
    nothing = eig.init_precision(scene.params.gaussians)
    options = dict(noise=0.05, priors=eig.Priors(), sh_degree=0, score="wanted")
    for wanted, best in (([again], 0), ([right], 1)):
        choice = view_selection.select_views(scene, nothing, [ahead, right], 1, SETTINGS, wanted=wanted, **options)
        assert choice.order == (best,)
        posteriors = [believe(known, eig.Priors(), scene.params.gaussians) for known in (nothing, choice.precision)]
        before, after = (
            float(view_selection.pixel_gain(scene, k, wanted[0], SETTINGS, 0.05, jnp.int32(0))) for k in posteriors
        )
        np.testing.assert_allclose(choice.gains[0], before - after, rtol=1e-3)
        assert before > after > 0


def test_too_few_candidates_and_unknown_scores_are_named():
    scene = init_scene(
        *(jax.random.key(0), jnp.ones((1, 3)), jnp.ones((1, 3)), jnp.ones(1)),
        **dict(capacity=1, sh_degree=0, exposures=1, frames=1, cameras=1),
    )
    nothing = eig.init_precision(scene.params.gaussians)
    choose = functools.partial(view_selection.select_views, scene, nothing, [view(camera())])
    with pytest.raises(ValueError, match="cannot choose 2 of 1"):
        choose(2, SETTINGS, noise=0.1, priors=eig.Priors())
    with pytest.raises(ValueError, match="score='size'"):
        choose(1, SETTINGS, noise=0.1, priors=eig.Priors(), score="size")
    with pytest.raises(ValueError, match="there are none: give `wanted`"):
        choose(1, SETTINGS, noise=0.1, priors=eig.Priors(), score="wanted")
