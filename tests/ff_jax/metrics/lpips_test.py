"""LPIPS against the PyTorch original: distance, map and gradient, with real and with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ff_jax.metrics import lpips
from ff_jax.metrics.image import masked_mean
from tests.ff_jax.metrics import originals
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

NETS = ("alex", "vgg")


def trunk(net):
    """Return a torchvision-like network, only as deep as the original looks into it."""
    from torch import nn

    if net == "alex":
        first = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        second = [nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        rest = [(192, 384), (384, 256), (256, 256)]
        features = [*first, *second, *(x for ab in rest for x in (nn.Conv2d(*ab, 3, 1, 1), nn.ReLU()))]
    else:
        features, before = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                features += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
                before = width
            features.append(nn.MaxPool2d(2, 2))
    module = nn.Module()
    module.features = nn.Sequential(*features)
    return module


def build(net, arrays):
    """Return the original with `arrays` as weights."""
    models = {"alexnet": lambda pretrained: trunk("alex"), "vgg16": lambda pretrained: trunk("vgg")}
    with originals.imported("lpips", **models) as (module,):
        import torch

        network = module.LPIPS(pretrained=False, net=net, verbose=False)
        convolutions = [m for m in network.net.modules() if isinstance(m, torch.nn.Conv2d)]
        for index, convolution in enumerate(convolutions):
            name = f"{'AlexNet_0' if net == 'alex' else 'VGG16_0'}.Conv_{index}"
            convolution.weight.data = torch.tensor(arrays[f"{name}.kernel"].transpose(3, 2, 0, 1))
            convolution.bias.data = torch.tensor(arrays[f"{name}.bias"])
        for index, lin in enumerate(network.lins):
            lin.model[-1].weight.data = torch.tensor(arrays[f"NetLinLayer_{index}.Conv_0.kernel"].transpose(3, 2, 0, 1))
        assert len(arrays) == 2 * len(convolutions) + 5
        return network


def original(net, arrays, a, b):
    """Return the original's distances (B,) and maps (B, H, W) of images (B, H, W, 3) in [0, 1]."""
    network = build(net, arrays)
    import torch

    a, b = (torch.tensor(x.transpose(0, 3, 1, 2)) for x in (a, b))
    with torch.no_grad():
        distance = network(a, b, normalize=True)
        network.spatial = True
        return distance.numpy().ravel(), network(a, b, normalize=True).numpy()[:, 0]


def original_gradient(net, arrays, a, b):
    """Return the derivative (B, H, W, 3) of the original's summed distances for the first images, in float64."""
    network = build(net, arrays).double()
    import torch

    # The original holds these constants in float32.
    network.scaling_layer.shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[None, :, None, None]
    network.scaling_layer.scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[None, :, None, None]
    a, b = (torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float64) for x in (a, b))
    a.requires_grad_()
    network(a, b, normalize=True).sum().backward()
    return a.grad.numpy().transpose(0, 2, 3, 1)


def draw(net):
    """Return random weights that keep the size of activations from layer to layer; channel weights are positive."""
    rng = seeded_rng()
    arrays = {}
    for name, shape in lpips.shapes(net).items():
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) == 4 else 0.1
        array = rng.normal(0, scale, shape).astype(np.float32)
        arrays[name] = np.abs(array) if name.startswith("NetLin") else array
    return arrays


@pytest.fixture
def pair():
    """Return two images (2, 75, 131, 3) in [0, 1] with shapes in them, the second one noisier."""
    rng = seeded_rng()
    coarse = rng.integers(0, 256, (2, 5, 8, 3), np.uint8)
    a = np.stack([np.asarray(Image.fromarray(image).resize((131, 75), Image.BICUBIC)) for image in coarse]) / 255
    # No area is flat: where pooled values tie, rounding decides which of them the gradient takes.
    a = 0.1 + 0.8 * a + rng.uniform(-0.05, 0.05, a.shape)
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    return a.astype(np.float32), b.astype(np.float32)


def check(arrays, net, pair):
    """Compare distance, map and gradient with the original."""
    (distance, spatial), network = original(net, arrays, *pair), lpips.convert(arrays, net)
    assert distance.min() > 1e-3
    np.testing.assert_allclose(network.distance(*pair), distance, rtol=1e-4)
    np.testing.assert_allclose(network.distance_map(*pair), spatial, atol=1e-4 * spatial.max())
    # In float64: one of millions of rectified or pooled values decided otherwise shows in the gradient.
    a, b = (x[:1, :45, :70].astype(np.float64) for x in pair)
    with jax.enable_x64(True):
        gradient = np.asarray(jax.grad(lambda a: network.distance(a, b).sum())(jnp.asarray(a)))
    expected = original_gradient(net, arrays, a, b)
    assert np.linalg.norm(gradient - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("net", NETS)
def test_random_weights_equal_the_original(net, pair):
    check(draw(net), net, pair)


@pytest.mark.assets
def test_real_weights_equal_the_original(assets, pair):
    path = assets / "weights" / "lpips" / "lpips_alexnet.npz"
    with np.load(path) as arrays:
        check(dict(arrays), "alex", pair)
    more = np.clip(pair[0] + 3 * (pair[1] - pair[0]), 0, 1)
    network = lpips.load(path)
    assert (network.distance(pair[0], more) > network.distance(*pair)).all()


@pytest.mark.parametrize("net", NETS)
def test_equal_images_have_distance_zero_and_finite_gradients(net):
    network = lpips.convert(draw(net), net)
    # All channels of the first layer are 0, where the unit length has no derivative.
    silent = jax.tree.map(jnp.asarray, network)
    silent.params["trunk"]["Conv_0"]["bias"] = jnp.full(64, -1e4, jnp.float32)
    step = jax.jit(jax.value_and_grad(lambda a, b, lens: lens.distance(a, b)))
    image = np.zeros((40, 50, 3), np.float32)
    for lens in (network, silent):
        value, gradient = step(image, image, lens)
        assert value < 1e-12
        np.testing.assert_allclose(gradient, np.zeros_like(image), atol=1e-6)
        assert np.isfinite(step(image, seeded_rng().random(image.shape, np.float32), lens)[1]).all()
    assert step._cache_size() == 1


def test_batches_and_order_do_not_matter(pair):
    network = lpips.convert(draw("alex"), "alex")
    a, b = pair
    whole = network.distance(a, b)
    assert whole.shape == (2,)
    assert network.distance_map(a, b).shape == a.shape[:3]
    for i in range(2):
        single = network.distance(a[i], b[i])
        assert single.shape == ()
        np.testing.assert_allclose(single, whole[i], rtol=1e-5)
        np.testing.assert_allclose(network.distance(b[i], a[i]), single, rtol=1e-5)
        assert network.distance_map(a[i], b[i]).shape == a.shape[1:3]
    np.testing.assert_allclose(network.distance(a[None], b[None])[0], whole, rtol=1e-5)


def test_the_map_shows_where_images_differ(pair):
    network = lpips.convert(draw("alex"), "alex")
    a = np.tile(pair[0][0], (3, 3, 1))
    b = a.copy()
    b[:30, :40] = pair[1][0][:30, :40]
    near = np.zeros(a.shape[:2], bool)
    near[:30, :40] = True
    found = network.distance_map(a, b)
    assert masked_mean(found, near) > 10 * masked_mean(found, ~near)
    # The receptive field of AlexNet's last layer, its enlargement included, is below 240 pixels.
    np.testing.assert_allclose(found[:, 280:], 0, atol=1e-12)


@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("vgg", 16)])
def test_small_images_are_refused(net, smallest):
    network = lpips.convert(draw(net), net)
    rng = seeded_rng()
    a, b = rng.random((2, smallest, smallest + 3, 3), np.float32)
    assert network.distance(a, b) > 0
    for call in (network.distance, network.distance_map):
        with pytest.raises(ValueError, match=f"needs {smallest} x {smallest} pixels, got {smallest - 1} x"):
            call(a[1:], b[1:])


def test_other_weights_are_refused(tmp_path):
    arrays = draw("alex")
    with pytest.raises(ValueError, match=r"LPIPS \(vgg\).*missing: NetLinLayer|LPIPS \(vgg\).*missing: VGG16_0"):
        lpips.convert(arrays, "vgg")
    del arrays["AlexNet_0.Conv_3.bias"]
    np.savez(tmp_path / "net.npz", **arrays)
    with pytest.raises(ValueError, match=r"missing: AlexNet_0\.Conv_3\.bias"):
        lpips.load(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"invalid net='squeeze': expected one of alex, vgg"):
        lpips.load(tmp_path / "net.npz", "squeeze")
