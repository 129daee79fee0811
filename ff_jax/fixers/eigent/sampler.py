"""The sampling loop: from noise to a clean latent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from ff_jax.fixers.eigent.noise_schedule import SolverSteps, step, x0_from_v


def sample(
    denoise: Callable[[Array, Array], Array], key: Key[Array, ""], noise: Float[Array, "B F h w C"], steps: SolverSteps
) -> Float[Array, "B F h w C"]:
    """Sample a clean latent.

    Args:
        denoise: `denoise(x, t) -> v` with x (B, F, h, w, C) and t (B,), int32; it closes over its conditions. It is
            traced once.
        key: random key of the noise that the solver adds.
        noise: standard normal.
        steps: from `noise_schedule.make_solver_steps`.
    """

    def advance(carry: tuple[Array, Array], inputs: tuple[SolverSteps, Array]) -> tuple[tuple[Array, Array], None]:
        (x, x0_before), (at, key) = carry, inputs
        x0 = x0_from_v(x, denoise(x, jnp.full(len(x), at.t)).astype(x.dtype), at.levels)
        return (step(x, x0, x0_before, jax.random.normal(key, x.shape, x.dtype), at), x0), None

    keys = jax.random.split(key, len(steps.t))
    (x, _), _ = jax.lax.scan(advance, (noise, jnp.zeros_like(noise)), (steps, keys))
    return x
