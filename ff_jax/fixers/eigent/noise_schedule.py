"""Noise levels of the video transformer and the steps from one to the next.

A noisy latent is x = sqrt(abar) x0 + sqrt(1 - abar) eps, where abar falls with the time step t, and the network
predicts v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho 2022, arXiv 2202.00512). Levels are CogVideoX's: betas
linear in their square root, the signal-to-noise ratio shifted (Esser et al. 2024, arXiv 2403.03206), then stretched
until the last level is pure noise (Lin et al. 2024, arXiv 2305.08891).

Every solver's step is linear, so that it is a row of numbers made in float64 beforehand: all limits (pure noise at the
start, no noise at the end) are taken there.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float

SOLVERS = ("ddim", "dpm")


@dataclass(frozen=True)
class ScheduleConfig:
    """Levels of the noise.

    Attributes:
        steps: number of levels.
        beta: first and last beta.
        snr_shift: what the signal-to-noise ratios are divided by: 1 for the 5B networks, 3 for the 2B one.
    """

    steps: int = 1000
    beta: tuple[float, float] = (0.00085, 0.012)
    snr_shift: float = 1.0


class Levels(NamedTuple):
    """Signal and noise of a noisy latent x = signal x0 + noise eps, per time step or per solver step."""

    signal: Array  # (n,), float32
    noise: Array  # (n,), float32


class Steps(NamedTuple):
    """A solver's way from pure noise to x0: x <- a x + b x0 + c x0_before + d eps, with x0 as predicted at t."""

    t: Array  # (n,), int32, falling
    levels: Levels  # at t
    a: Array  # (n,), float32
    b: Array  # (n,), float32
    c: Array  # (n,), float32; 0 in the first step
    d: Array  # (n,), float32


def alphas(config: ScheduleConfig) -> Float[np.ndarray, "steps"]:
    """Return abar of every time step in float64; the last is 0."""
    betas = np.linspace(config.beta[0] ** 0.5, config.beta[1] ** 0.5, config.steps) ** 2
    abar = np.cumprod(1 - betas)
    root = np.sqrt(abar / (config.snr_shift + (1 - config.snr_shift) * abar))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def levels(config: ScheduleConfig) -> Levels:
    """Return signal and noise of all time steps."""
    return _levels(alphas(config))


def noisy(x0: Float[ArrayLike, "*shape"], eps: Float[ArrayLike, "*shape"], at: Levels) -> Float[Array, "*shape"]:
    """Return the noisy latent; `at` holds scalars, or arrays that broadcast."""
    return at.signal * x0 + at.noise * eps


def v_of(x0: Float[ArrayLike, "*shape"], eps: Float[ArrayLike, "*shape"], at: Levels) -> Float[Array, "*shape"]:
    """Return the v that the network should predict."""
    return at.signal * eps - at.noise * x0


def x0_of(x: Float[ArrayLike, "*shape"], v: Float[ArrayLike, "*shape"], at: Levels) -> Float[Array, "*shape"]:
    """Return the clean latent that a noisy one and its v mean."""
    return at.signal * x - at.noise * v


def make_steps(config: ScheduleConfig, count: int, solver: str = "dpm", strength: float = 1.0) -> Steps:
    """Return the steps of a solver.

    Args:
        config: levels.
        count: number of steps; time steps are evenly spaced and end on the last one ("trailing").
        solver: "ddim" (Song et al. 2020, arXiv 2010.02502, deterministic) or "dpm" (second-order SDE DPM-Solver++,
            Lu et al. 2022, arXiv 2211.01095, as CogVideoX has it: first and last step of first order).
        strength: share of the levels that are gone through, the noisier ones left out: below 1 the steps start from a
            noisy version of a given latent (Meng et al. 2022, arXiv 2108.01073) instead of from pure noise.

    Raises:
        ValueError: the solver is not known, or there are more steps than levels.
    """
    if solver not in SOLVERS:
        raise ValueError(f"{solver=} is not known; use one of {', '.join(SOLVERS)}.")
    top = round(strength * config.steps)
    if not 1 <= count <= top <= config.steps:
        raise ValueError(f"{count=} steps must be at least 1 and at most the {top} levels of {strength=}.")
    t = np.round(top - np.arange(count) * top / count).astype(int) - 1
    abar = alphas(config)[t]
    after = np.append(abar[1:], 1.0)  # no noise is left after the last step
    rows = _ddim(abar, after) if solver == "ddim" else _dpm(abar, after)
    return Steps(jnp.asarray(t, jnp.int32), _levels(abar), *(jnp.asarray(row, jnp.float32) for row in rows))


def step(
    x: Float[ArrayLike, "*shape"],
    x0: Float[ArrayLike, "*shape"],
    before: Float[ArrayLike, "*shape"],
    eps: Float[ArrayLike, "*shape"],
    at: Steps,
) -> Float[Array, "*shape"]:
    """Return the latent after one step.

    Args:
        x: noisy latent.
        x0: clean latent as predicted from it.
        before: as predicted in the step before; anything finite in the first.
        eps: standard normal.
        at: one step (scalars).
    """
    return at.a * x + at.b * x0 + at.c * before + at.d * eps


def _levels(abar: np.ndarray) -> Levels:
    return Levels(jnp.asarray(np.sqrt(abar), jnp.float32), jnp.asarray(np.sqrt(1 - abar), jnp.float32))


def _ddim(abar: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, ...]:
    a = np.sqrt((1 - after) / (1 - abar))
    zero = np.zeros_like(a)
    return a, np.sqrt(after) - np.sqrt(abar) * a, zero, zero


def _dpm(abar: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the coefficients, from e^-h with h = lambda_after - lambda and lambda = log sqrt(abar / (1 - abar))."""
    # Written out in abar, e^-h is 0 where lambda is -inf (no signal) or lambda_after is inf (no noise).
    decay = np.sqrt(abar * (1 - after) / ((1 - abar) * after))
    gain = np.sqrt(after) * (1 - decay**2)
    # 1 / (2r) = h / (2 h_before): 0 in the first step, which has none before, in the second, which follows on an
    # infinite one, and in the last, where it would be infinite and the published solver is of first order.
    extra = np.zeros_like(gain)
    inner = np.log(decay[1:-1])
    extra[2:-1] = inner[1:] / inner[:-1] / 2
    noise = np.sqrt((1 - after) * (1 - decay**2))
    return np.sqrt((1 - after) / (1 - abar)) * decay, gain * (1 + extra), -gain * extra, noise
