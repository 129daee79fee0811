"""Noise levels of the video transformer, and the solver steps between them.

A noisy latent is x = sqrt(abar) x0 + sqrt(1 - abar) eps, where abar decreases with the time step t, and the network
predicts v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho 2022, arXiv 2202.00512). The levels are CogVideoX's:
betas linear in their square root, the signal-to-noise ratio shifted (Esser et al. 2024, arXiv 2403.03206), then
rescaled so that the last level is pure noise (Lin et al. 2024, arXiv 2305.08891).

Every solver's step is linear in its inputs. Its coefficients are computed in float64 beforehand, where all limits (pure
noise at the start, no noise at the end) are taken.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float

from ff_jax.runtime.settings import Settings, bounded

SOLVERS = ("ddim", "dpm")


@dataclass(frozen=True)
class ScheduleConfig(Settings):
    """The noise levels.

    Attributes:
        steps: number of levels.
        beta: first and last beta.
        snr_shift: divisor of the signal-to-noise ratios: 1 for the 5B networks, 3 for the 2B one.
    """

    steps: int = bounded(1000, 2, 1_000_000)
    beta: tuple[float, float] = bounded((0.00085, 0.012), 1e-9, 0.999)
    snr_shift: float = bounded(1.0, 1e-6, 1e6)


class NoiseLevels(NamedTuple):
    """Signal and noise of a noisy latent x = signal x0 + noise eps, per time step or per solver step."""

    signal: Array  # (n,), float32
    noise: Array  # (n,), float32


class SolverSteps(NamedTuple):
    """The steps of a solver from pure noise to x0: x <- a x + b x0 + c x0_before + d eps, with x0 predicted at t."""

    t: Array  # (n,), int32, decreasing
    levels: NoiseLevels  # at t
    a: Array  # (n,), float32
    b: Array  # (n,), float32
    c: Array  # (n,), float32; 0 in the first step
    d: Array  # (n,), float32


def alphas(config: ScheduleConfig) -> Float[np.ndarray, "steps"]:
    """Compute abar of every time step in float64; the last is 0."""
    betas = np.linspace(config.beta[0] ** 0.5, config.beta[1] ** 0.5, config.steps) ** 2
    abar = np.cumprod(1 - betas)
    root = np.sqrt(abar / (config.snr_shift + (1 - config.snr_shift) * abar))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def noise_levels(config: ScheduleConfig) -> NoiseLevels:
    """Compute signal and noise of all time steps."""
    return _levels(alphas(config))


def add_noise(
    x0: Float[ArrayLike, "*shape"], eps: Float[ArrayLike, "*shape"], at: NoiseLevels
) -> Float[Array, "*shape"]:
    """Compute the noisy latent; `at` holds scalars, or arrays that broadcast."""
    return at.signal * x0 + at.noise * eps


def v_target(
    x0: Float[ArrayLike, "*shape"], eps: Float[ArrayLike, "*shape"], at: NoiseLevels
) -> Float[Array, "*shape"]:
    """Compute the v that the network should predict."""
    return at.signal * eps - at.noise * x0


def x0_from_v(x: Float[ArrayLike, "*shape"], v: Float[ArrayLike, "*shape"], at: NoiseLevels) -> Float[Array, "*shape"]:
    """Compute the clean latent from a noisy one and its v."""
    return at.signal * x - at.noise * v


def make_solver_steps(config: ScheduleConfig, count: int, solver: str = "dpm", strength: float = 1.0) -> SolverSteps:
    """Compute the steps of a solver.

    Args:
        config: noise levels.
        count: number of steps; time steps are evenly spaced and end on the last one ("trailing").
        solver: "ddim" (Song et al. 2020, arXiv 2010.02502, deterministic) or "dpm" (second-order SDE DPM-Solver++,
            Lu et al. 2022, arXiv 2211.01095, as in CogVideoX: first and last step of first order).
        strength: share of the levels that are used; the noisier ones are left out. Below 1 the steps start from a noisy
            version of a given latent (Meng et al. 2022, arXiv 2108.01073) instead of from pure noise.

    Raises:
        ValueError: the solver is unknown, or there are more steps than levels.
    """
    if solver not in SOLVERS:
        raise ValueError(f"invalid {solver=}: expected one of {', '.join(SOLVERS)}.")
    top = round(strength * config.steps)
    if not 1 <= count <= top <= config.steps:
        raise ValueError(f"{count=} steps must be at least 1 and at most the {top} levels of {strength=}.")
    t = np.round(top - np.arange(count) * top / count).astype(int) - 1
    abar = alphas(config)[t]
    after = np.append(abar[1:], 1.0)  # no noise is left after the last step
    rows = _ddim(abar, after) if solver == "ddim" else _dpm(abar, after)
    return SolverSteps(jnp.asarray(t, jnp.int32), _levels(abar), *(jnp.asarray(row, jnp.float32) for row in rows))


def step(
    x: Float[ArrayLike, "*shape"],
    x0: Float[ArrayLike, "*shape"],
    x0_before: Float[ArrayLike, "*shape"],
    eps: Float[ArrayLike, "*shape"],
    at: SolverSteps,
) -> Float[Array, "*shape"]:
    """Compute the latent after one step.

    Args:
        x: noisy latent.
        x0: clean latent predicted from it.
        x0_before: the prediction of the step before; any finite value in the first step.
        eps: standard normal.
        at: one step (scalars).
    """
    return at.a * x + at.b * x0 + at.c * x0_before + at.d * eps


def _levels(abar: np.ndarray) -> NoiseLevels:
    return NoiseLevels(jnp.asarray(np.sqrt(abar), jnp.float32), jnp.asarray(np.sqrt(1 - abar), jnp.float32))


def _ddim(abar: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, ...]:
    a = np.sqrt((1 - after) / (1 - abar))
    zero = np.zeros_like(a)
    return a, np.sqrt(after) - np.sqrt(abar) * a, zero, zero


def _dpm(abar: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute the coefficients from e^-h with h = lambda_after - lambda and lambda = log sqrt(abar / (1 - abar))."""
    # Expressed in abar, e^-h is 0 where lambda is -inf (no signal) or lambda_after is inf (no noise).
    decay = np.sqrt(abar * (1 - after) / ((1 - abar) * after))
    gain = np.sqrt(after) * (1 - decay**2)
    # 1 / (2r) = h / (2 h_before): 0 in the first step, which has no step before, in the second, whose step before is
    # infinite, and in the last, where it would be infinite and the published solver is of first order.
    extra = np.zeros_like(gain)
    inner = np.log(decay[1:-1])
    extra[2:-1] = inner[1:] / inner[:-1] / 2
    noise = np.sqrt((1 - after) * (1 - decay**2))
    return np.sqrt((1 - after) / (1 - abar)) * decay, gain * (1 + extra), -gain * extra, noise
