"""The transformer against plain formulas: attention, injections, precision, memory saving, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import transformer, transformer_layers
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.transformer import Dit
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = DitConfig(
    depth=5, heads=2, head_dim=16, in_channels=6, out_channels=3, text_dim=12, text_length=4, time_dim=16,
    sample=(3, 4, 6),
)  # fmt: skip
BATCH = 2


def draw_like(tree):
    """Return a tree of normal numbers; scales of normalizations are around 1."""
    rng = seeded_rng()
    mean = lambda path: jax.tree_util.keystr(path).endswith("['scale']")
    draw = lambda path, leaf: jnp.asarray(mean(path) + 0.2 * rng.normal(size=leaf.shape), jnp.float32)
    return jax.tree_util.tree_map_with_path(draw, tree)


@pytest.fixture(scope="module")
def inputs():
    rng, f32 = seeded_rng(), np.float32
    latents = rng.normal(size=(BATCH, *CONFIG.sample, CONFIG.in_channels)).astype(f32)
    text = rng.normal(size=(BATCH, CONFIG.text_length, CONFIG.text_dim)).astype(f32)
    return jnp.asarray(latents), jnp.asarray(text), jnp.asarray(rng.integers(0, 1000, BATCH))


@pytest.fixture(scope="module")
def params(inputs):
    return draw_like(jax.eval_shape(Dit(CONFIG).init, jax.random.key(0), *inputs)["params"])


@pytest.fixture(scope="module")
def plain(params, inputs):
    return jax.jit(Dit(CONFIG).apply)({"params": params}, *inputs)


def test_attention_is_the_formula():
    rng = seeded_rng()
    q, k, v = (jnp.asarray(rng.normal(size=(2, n, 3, 8)), jnp.float32) for n in (5, 7, 7))
    scores = np.einsum("bmhc,bnhc->bhmn", q, k) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.einsum("bhmn,bnhc->bmhc", weights, v)
    for implementation in (None, "xla"):
        np.testing.assert_allclose(transformer_layers.attention(q, k, v, implementation), expected, atol=1e-5)


def loop(params, latents, text, t, injections):
    """Run the blocks one by one, with the injection rule written out."""
    time = transformer_layers.TimeEmbedding(CONFIG).apply({"params": params["time_embedding"]}, t)
    text, video = transformer.Embed(CONFIG).apply({"params": params["patch_embed"]}, latents, text)
    angles = transformer.rotary_angles_of(transformer.grid_of(latents, CONFIG), CONFIG)
    size = int(np.ceil(CONFIG.depth / len(injections)))
    for j in range(CONFIG.depth):
        own = jax.tree.map(lambda leaf, j=j: leaf[j], params["blocks"]["block"])
        text, video = transformer_layers.TransformerBlock(CONFIG).apply({"params": own}, text, video, time, angles)
        video = video + injections[j // size]
    return transformer.Head(CONFIG).apply({"params": params["head"]}, video, time, transformer.grid_of(latents, CONFIG))


def test_injections_are_added_after_the_blocks_of_a_group(params, inputs, plain):
    shape = (4, BATCH, CONFIG.tokens, CONFIG.width)
    injections = jnp.asarray(seeded_rng().normal(size=shape), jnp.float32)
    apply = jax.jit(Dit(CONFIG).apply)
    found = apply({"params": params}, *inputs, injections)
    np.testing.assert_allclose(found, jax.jit(loop)(params, *inputs, injections), rtol=1e-3, atol=1e-4)
    assert np.abs(found - plain).max() > 1e-2
    # 5 blocks in groups of 2: the fourth group is empty, the third has one block.
    np.testing.assert_array_equal(found, apply({"params": params}, *inputs, injections.at[3].set(9.0)))
    assert np.abs(found - apply({"params": params}, *inputs, injections.at[2].set(9.0))).max() > 1e-2


def test_bfloat16_is_close(params, inputs, plain):
    halves = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    found = jax.jit(Dit(CONFIG, jnp.bfloat16).apply)({"params": halves}, *inputs)
    assert found.dtype == jnp.float32
    assert jnp.linalg.norm(found - plain) < 0.1 * jnp.linalg.norm(plain)
    shapes = jax.eval_shape(Dit(CONFIG, jnp.bfloat16).init, jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}


def test_compile_time_does_not_grow_with_depth(inputs):
    sizes = []
    for depth in (2, 40):
        network = Dit(DitConfig(**{**vars(CONFIG), "depth": depth}))
        shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
        sizes.append(len(jax.jit(network.apply).lower(shapes, *inputs).as_text()))
    assert sizes[1] < 1.2 * sizes[0]


def test_wrong_inputs_are_named(inputs):
    latents, text, t = inputs
    init = partial(jax.eval_shape, Dit(CONFIG).init, jax.random.key(0))
    with pytest.raises(ValueError, match="must have 6 channels, and height and width that are multiples of 2"):
        init(latents[..., :4], text, t)
    with pytest.raises(ValueError, match="multiples of 2"):
        init(latents[:, :, :3], text, t)
    with pytest.raises(ValueError, match="must have 12 channels: embed it"):
        init(latents, text[..., :5], t)
    later = Dit(DitConfig(**{**vars(CONFIG), "sample": (4, 4, 6), "patch_time": 2}))
    with pytest.raises(ValueError, match="must have a multiple of 2 frames: repeat the first one"):
        jax.eval_shape(later.init, jax.random.key(0), latents, text, t)
    learned = Dit(DitConfig(**{**vars(CONFIG), "positions": "rope_learned"}))
    with pytest.raises(ValueError, match=r"must have \(frames, height, width\) \(3, 4, 6\) and 4 tokens"):
        jax.eval_shape(learned.init, jax.random.key(0), latents[:, :2], text, t)
    with pytest.raises(ValueError, match="invalid positions='none'"):
        DitConfig(**{**vars(CONFIG), "positions": "none"})
    with pytest.raises(ValueError, match="head_dim=24 must be a multiple of 16"):
        DitConfig(**{**vars(CONFIG), "head_dim": 24})
    with pytest.raises(ValueError, match="must have frames that patch_time=2 divides"):
        DitConfig(**{**vars(CONFIG), "patch_time": 2})
    with pytest.raises(ValueError, match="offset_dim=8 must be 0 or time_dim=16"):
        DitConfig(**{**vars(CONFIG), "offset_dim": 8})
