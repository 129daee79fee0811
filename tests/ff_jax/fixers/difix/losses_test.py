"""The training loss against naive sums."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix import losses
from ff_jax.fixers.difix.config import LossWeights
from ff_jax.fixers.triples import Triples
from ff_jax.metrics import lpips
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = dataclasses.replace(torch_difix.CONFIG, loss=LossWeights(l2=0.7, lpips=0.3, gram=0.2, eig=0.5, crop=16))


@pytest.fixture(scope="module")
def vgg():
    """Return VGG16 with random weights that keep the size of activations."""
    rng, arrays = seeded_rng(), {}
    for name, shape in lpips.shapes("vgg").items():
        array = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])) if len(shape) == 4 else 0.1, shape).astype(np.float32)
        arrays[name] = np.abs(array) if name.startswith("NetLin") else array
    return lpips.convert(arrays, "vgg")


@pytest.fixture
def batch():
    rng = seeded_rng()
    renders, references, targets = (jnp.asarray(rng.random((2, 20, 24, 3), np.float32)) for _ in range(3))
    return Triples(renders, jnp.asarray(rng.exponential(0.1, (2, 20, 24)), jnp.float32), references, targets)


@pytest.fixture
def repair(monkeypatch):
    """Replace the network by a mixture of its inputs."""
    mixture = lambda params, frames, eig, references, config: params["share"] * frames + 0.4 * references
    monkeypatch.setattr(losses.model, "repair", mixture)
    return mixture


def naive_gram(vgg, image, target):
    """Return the distance of Gram matrices of two images (H, W, 3), with PyTorch's convolutions."""
    torch = torch_difix.torch
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64)
    xs = [
        ((torch.tensor(np.asarray(x, np.float64)) - mean) / deviation).permute(2, 0, 1)[None] for x in (image, target)
    ]
    total, index = 0.0, 0
    for count, weight in zip((2, 2, 3, 3, 3), (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5), strict=True):
        xs = [torch.nn.functional.max_pool2d(x, 2) for x in xs] if index else xs
        for _ in range(count):
            layer = vgg.params["trunk"][f"Conv_{index}"]
            kernel = torch.tensor(np.asarray(layer["kernel"], np.float64).transpose(3, 2, 0, 1))
            bias = torch.tensor(np.asarray(layer["bias"], np.float64))
            xs = [torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1)) for x in xs]
            index += 1
        rows = [x[0].flatten(1) for x in xs]
        difference = rows[0] @ rows[0].T - rows[1] @ rows[1].T
        total += weight * (difference**2).mean() / rows[0].numel()
    return float(total)


def test_gram_equals_a_naive_sum(vgg, batch):
    pairs = zip(batch.renders, batch.targets, strict=True)
    expected = np.mean([naive_gram(vgg, *pair) for pair in pairs])
    call = torch_difix.jit(losses.gram)
    np.testing.assert_allclose(call(vgg.params["trunk"], batch.renders, batch.targets), expected, rtol=1e-3)
    assert float(call(vgg.params["trunk"], batch.targets, batch.targets)) == 0.0


def test_eig_error_is_weighted_by_eig(batch):
    weight = 1.0 - np.exp(-np.asarray(batch.eigs) / 0.2)
    error = np.abs(np.asarray(batch.renders) - np.asarray(batch.targets)).mean(-1)
    found = losses.eig_error(batch.renders, batch.targets, batch.eigs, 0.2)
    np.testing.assert_allclose(found, np.mean(weight * error), rtol=1e-4)
    assert float(losses.eig_error(batch.renders, batch.targets, 0 * batch.eigs, 0.2)) == 0.0


def test_the_loss_is_the_weighted_sum_of_its_terms(vgg, batch, repair):
    params, key = {"share": jnp.float32(0.6)}, jax.random.key(5)
    fixed = repair(params, batch.renders, None, batch.references, None)
    l2 = 0.7 * jnp.mean((fixed - batch.targets) ** 2)
    bare = l2 + 0.5 * losses.eig_error(fixed, batch.targets, batch.eigs, CONFIG.kappa)
    np.testing.assert_allclose(losses.loss(params, batch, key, CONFIG), bare, rtol=1e-4)
    y, x = jax.random.randint(key, (2,), 0, jnp.array([5, 9]))  # 16 x 16 of 20 x 24 pixels
    crop = np.s_[:, y : y + 16, x : x + 16]
    textures = [naive_gram(vgg, *pair) for pair in zip(fixed[crop], batch.targets[crop], strict=True)]
    call = torch_difix.jit(
        lambda params, batch, vgg: (
            jax.value_and_grad(losses.loss)(params, batch, key, CONFIG, vgg),
            vgg.distance(fixed, batch.targets),
        )
    )
    (found, gradient), distance = call(params, batch, vgg)
    whole = bare + 0.3 * distance.mean() + 0.2 * np.mean(textures)
    np.testing.assert_allclose(found, whole, rtol=1e-3)
    assert np.isfinite(gradient["share"]) and abs(gradient["share"]) > 1e-6


def test_another_network_than_vgg_is_refused(vgg, batch):
    with pytest.raises(ValueError, match="features of VGG16, not of net='alex'"):
        losses.loss({}, batch, jax.random.key(0), CONFIG, lpips.Lpips(vgg.params, "alex"))
