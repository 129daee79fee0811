"""Scores of whole views against dense linear algebra in float64, and the greedy choice."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig import view_selection
from ff_jax.render.renderer import RenderInput
from ff_jax.scene import SceneModel
from kernels import pack_symmetric
from tests.ff_jax.eig.problems import SETTINGS, add_view, eig_maps, jacobian64, posterior_of
from tests.random_inputs import seeded_rng
from tests.scenes import make_view, pinhole, quick, random_world, scene_from_points

pytestmark = pytest.mark.slow

W, H, N, NOISE = 12, 9, 5, 0.05
BACKGROUND = jnp.full((H, W, 3), 0.5)
PRIORS = eig.Priors()
camera = functools.partial(pinhole, W, H, 11.0)


@pytest.fixture(scope="module")
def rng():
    return seeded_rng()


class Problem(NamedTuple):
    """A new view, the posterior before it, and its Jacobians in units of prior and noise, in float64."""

    inputs: RenderInput
    posterior: eig.Posterior
    information: eig.Precision
    geometry: np.ndarray  # (P * 3, N, 10)
    color: np.ndarray  # (P * 3, N * 3, 4)


@pytest.fixture(scope="module")
def problem(rng):
    """Overlapping Gaussians of which one view was observed."""
    world = random_world(rng, N, stds=(0.2, 0.6), logits=(-1, 2), color_std=0.1)
    first, new = (RenderInput(world, c, SETTINGS) for c in (camera(), camera(0.5, yaw=-0.05)))
    observed = add_view(None, first, BACKGROUND, NOISE)
    posterior = posterior_of(observed, eig.Priors(background=0.0), world.gaussians)
    J = jacobian64(new, BACKGROUND)
    F, G = (np.asarray(x, np.float64) for x in (posterior.geometry, posterior.color))
    geometry = np.einsum("pcni,nij->pcnj", J.geometry, F).reshape(-1, N, 10)
    color = np.einsum("pcnkd,nkj->pcndj", J.sh, G).reshape(-1, N * 3, 4)
    return Problem(new, posterior, add_view(None, new, BACKGROUND, NOISE), geometry / NOISE, color / NOISE)


def log_det(A):
    return 0.5 * np.linalg.slogdet(np.eye(A.shape[1]) + A.T @ A)[1]


def test_block_eig_equals_dense_blocks(problem):
    expected = sum(log_det(problem.geometry[:, n]) for n in range(N))
    expected += sum(log_det(problem.color[:, n]) for n in range(3 * N))
    np.testing.assert_allclose(view_selection.block_eig(problem.information, problem.posterior), expected, rtol=2e-3)


def test_gaussian_eig_is_that_of_its_own_blocks(problem):
    expected = [log_det(problem.geometry[:, n]) for n in range(N)]
    expected += np.sum([[log_det(problem.color[:, 3 * n + c]) for n in range(N)] for c in range(3)], 0)
    found = view_selection.gaussian_eig(problem.information, problem.posterior)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_joint_eig_equals_the_dense_determinant_and_is_below_blocks_and_pixels(problem):
    inputs, posterior, information, geometry, color = problem
    A = np.concatenate([geometry.reshape(len(geometry), -1), color.reshape(len(color), -1)], 1)
    expected = log_det(A)
    estimate = quick(view_selection.joint_eig, static_argnames=("num_samples", "steps"))
    key = jax.random.key(seeded_rng().integers(1 << 30))
    joint, error = estimate(key, posterior, inputs, BACKGROUND, noise=NOISE, num_samples=24, steps=50)
    assert abs(joint - expected) < 5 * error + 0.01 * expected and error < 0.1 * expected, (joint, expected, error)
    assert expected <= view_selection.block_eig(information, posterior) * 1.001
    assert expected <= float(eig_maps(posterior, inputs, BACKGROUND, NOISE, modes=("exact",))["exact"].sum()) * 1.001


def test_quadrature_with_all_steps_is_exact(rng):
    root = rng.normal(size=(12, 12)) * np.geomspace(0.01, 30, 12)
    A = root @ root.T + np.eye(12)
    values, vectors = np.linalg.eigh(A)
    z = rng.choice([-1.0, 1.0], 12)
    dense = jnp.asarray(A, jnp.float32)
    start = jnp.asarray(z / np.sqrt(12), jnp.float32)
    diagonal, off_diagonal = view_selection.lanczos(lambda x: jnp.matmul(dense, x, precision="highest"), start, 12)
    T = np.diag(diagonal) + np.diag(off_diagonal[:-1], 1) + np.diag(off_diagonal[:-1], -1)
    theta, tau = np.linalg.eigh(np.asarray(T, np.float64))
    quadrature = 12 * np.sum(tau[0] ** 2 * np.log(np.maximum(theta, 1)))
    np.testing.assert_allclose(quadrature, np.sum((vectors.T @ z) ** 2 * np.log(values)), rtol=1e-3)


def test_lanczos_stops_at_the_end_of_the_krylov_space():
    diagonal, off_diagonal = view_selection.lanczos(lambda x: 3.0 * x, jnp.ones(16) / 4, 5)
    np.testing.assert_allclose(diagonal[0], 3.0, rtol=1e-6)
    assert not np.asarray(off_diagonal).any() and np.isfinite(np.asarray(diagonal)).all()


@pytest.fixture(scope="module")
def corner(rng):
    """A scene with one cluster ahead and one to the right, and views of them."""
    xyz = np.concatenate([rng.uniform([-1, -1, 3], [1, 1, 5], (6, 3)), rng.uniform([3, -1, -1], [5, 1, 1], (6, 3))])
    scene = scene_from_points(xyz, np.full((12, 3), 0.6), 0.3, capacity=14, sh_degree=0)
    model = SceneModel(scene, SETTINGS, jnp.int32(0))
    return model, [make_view(c) for c in (camera(), camera(0.02), camera(yaw=np.pi / 2))]


def test_the_greedy_choice_prefers_views_of_unobserved_parts(corner):
    model, candidates = corner
    information = [view_selection.view_information(model, view, NOISE) for view in candidates]
    selection = view_selection.select_views(model, information[0], candidates, 3, noise=NOISE, priors=PRIORS)
    assert selection.order[0] == 2 and sorted(selection.order) == [0, 1, 2]
    assert selection.scores[0] >= selection.scores[1] >= selection.scores[2] > 0
    total = information[0]
    for i in selection.order:
        total = jax.tree.map(jnp.add, total, information[i])
    jax.tree.map(np.testing.assert_allclose, selection.precision, total)


def test_target_views_decide_the_selection(corner):
    model, (ahead, again, right) = corner
    gaussians = model.scene.params.gaussians
    start = eig.init_precision(gaussians)
    for target, best in ((again, 0), (right, 1)):
        selection = view_selection.select_views(
            model, start, [ahead, right], 1, noise=NOISE, priors=PRIORS, score="targets", targets=[target]
        )
        assert selection.order == (best,)
        posteriors = [posterior_of(precision, PRIORS, gaussians) for precision in (start, selection.precision)]
        before, after = (float(view_selection.pixel_eig(model, p, target, NOISE)) for p in posteriors)
        np.testing.assert_allclose(selection.scores[0], before - after, rtol=1e-3)
        assert before > after > 0


def test_too_few_candidates_and_unknown_scores_are_errors():
    scene = scene_from_points(np.ones((1, 3)), np.ones((1, 3)), 1.0, capacity=1, sh_degree=0)
    precision = eig.init_precision(scene.params.gaussians)
    arguments = SceneModel(scene, SETTINGS), precision, [make_view(camera())]
    select = functools.partial(view_selection.select_views, *arguments, noise=0.1, priors=PRIORS)
    with pytest.raises(ValueError, match="cannot select 2 of 1"):
        select(2)
    with pytest.raises(ValueError, match="score='size'"):
        select(1, score="size")
    with pytest.raises(ValueError, match="score='targets' needs the views to be predicted: pass `targets`"):
        select(1, score="targets")


def test_rounding_of_float32_is_no_information():
    """A block that is open in half of its directions gains what it gains in the others, whatever its scale."""
    rng = seeded_rng()
    for top in (1e2, 1e5, 1e9):
        values = np.r_[top * 10.0 ** rng.uniform(-3, 0, 5), np.zeros(5)]
        axes = np.linalg.qr(rng.normal(size=(10, 10)))[0]
        block = pack_symmetric(jnp.asarray(axes * values @ axes.T, jnp.float32))
        log_det = view_selection._log_det(block[None], jnp.eye(10)[None])
        np.testing.assert_allclose(log_det[0], np.log1p(values).sum(), rtol=1e-3)
