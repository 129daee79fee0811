"""PyTorch originals of Difix at a tiny size, on random weights, put together from diffusers' networks."""

import functools

import jax
import numpy as np
import pytest

from tests.random_inputs import seeded_rng

torch = pytest.importorskip("torch")

from experiments.benchmarks.baselines.difix_networks import Original, decode, encode, networks, step  # noqa: E402, F401
from experiments.studies.measures.robustness.small_trainings import small_difix  # noqa: E402
from ff_jax.fixers.difix import model  # noqa: E402
from ff_jax.fixers.difix.config import published  # noqa: E402

CONFIG = small_difix()
ADAPTER = "vae_skip"

# Compiling takes most of the time: the code runs once or twice and need not be fast.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})
repair = jit(model.repair, static_argnums=4)  # one for all tests


@functools.cache
def published_shapes():
    """Return the shapes of all parameters of the published size."""
    return model.shapes(published())


def randomise(module):
    """Draw every weight: kernels keep the size of activations, no norm is the identity."""
    rng = seeded_rng()
    for name, weight in module.state_dict().items():
        if weight.ndim > 1:
            drawn = rng.normal(0, 1 / np.sqrt(np.prod(weight.shape[1:])), weight.shape)
        else:
            drawn = rng.normal(0, 0.2, weight.shape) + ("norm" in name and name.endswith("weight"))
        with torch.no_grad():
            weight.copy_(torch.tensor(drawn))


def random_networks(config=CONFIG):
    """Return the originals with random weights."""
    found = networks(config)
    for module in found:
        randomise(module)
    return found


def tensors(original):
    """Return the tensors of denoiser and autoencoder by name, skip convolutions as Difix calls them."""
    arrays = lambda module: {name: weight.numpy() for name, weight in module.state_dict().items()}
    skips = {f"decoder.skip_conv_{i}.weight": skip.weight.detach().numpy() for i, skip in enumerate(original.skips, 1)}
    return arrays(original.unet), arrays(original.vae) | skips


def channels_first(array):
    """Return (..., H, W, C) as a tensor (..., C, H, W)."""
    return torch.tensor(np.moveaxis(np.asarray(array), -1, -3))


def channels_last(tensor):
    """Return (..., C, H, W) as an array (..., H, W, C)."""
    return np.moveaxis(tensor.detach().numpy(), -3, -1)


def relative_error(found, expected):
    """Return the largest difference over the deviation of what is expected."""
    expected = np.asarray(expected)
    return np.abs(np.asarray(found) - expected).max() / expected.std()
