"""The context branch: silent at first, a faithful copy, steered by EIG."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent import context_branch, transformer, transformer_layers
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.network_config import COGVIDEOX_5B_I2V, COGVIDEOX_15_5B_I2V, DitConfig
from ff_jax.fixers.eigent.transformer import Dit
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = DitConfig(
    depth=5, heads=2, head_dim=16, in_channels=6, out_channels=3, text_dim=12, text_length=4, time_dim=16,
    sample=(3, 4, 6), positions="rope_learned",
)  # fmt: skip
LATER = replace(CONFIG, sample=(4, 4, 6), positions="rope_slice", patch_time=2, offset_dim=16)
BLOCKS = 2
BATCH = 2


def normal(*shape):
    return jnp.asarray(seeded_rng().normal(size=shape), jnp.float32)


def draw_backbone(config):
    mean = lambda path: jax.tree_util.keystr(path).endswith("['scale']")
    shapes = transformer_shapes(config)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: mean(path) + 0.2 * normal(*leaf.shape), shapes)


def draw_scene(config):
    """Return noisy latents, render, EIG, reference, text and time steps."""
    latents, render, reference = (normal(BATCH, *config.sample, config.out_channels) for _ in range(3))
    eig = seeded_rng().random((BATCH, *config.sample), np.float32) * 0.9
    eig[:, 0] = 0
    eig[:, 2, :, 4:] = 1
    return latents, render, jnp.asarray(eig), reference, normal(BATCH, 4, 12), jnp.asarray([17, 801])


@pytest.fixture(scope="module")
def backbone():
    return draw_backbone(CONFIG)


@pytest.fixture(scope="module")
def scene():
    return draw_scene(CONFIG)


@pytest.fixture(scope="module")
def params(backbone):
    return branch_params(backbone, CONFIG, BLOCKS)


@pytest.fixture(scope="module")
def run():
    return jax.jit(lambda params, scene: ContextBranch(CONFIG, BLOCKS).apply({"params": params}, *scene))


def loud(params):
    """Return parameters whose features are the video's tokens themselves; all networks here have one width."""
    kernel = jnp.broadcast_to(jnp.eye(CONFIG.width), (BLOCKS, CONFIG.width, CONFIG.width))
    return {**params, "blocks": {**params["blocks"], "feature": {"kernel": kernel, "bias": jnp.zeros((BLOCKS, 32))}}}


@pytest.mark.parametrize("config", [CONFIG, LATER])
def test_parameters_have_the_branch_s_shapes(config):
    params, scene = branch_params(draw_backbone(config), config, BLOCKS), draw_scene(config)
    init = jax.eval_shape(ContextBranch(config, BLOCKS).init, jax.random.key(0), *scene)["params"]
    assert jax.tree.structure(init) == jax.tree.structure(params)
    jax.tree.map(lambda shape, leaf: np.testing.assert_equal(leaf.shape, shape.shape), init, params)


@pytest.mark.parametrize("config", [CONFIG, LATER])
def test_at_first_the_result_is_the_backbone_s_bit_for_bit(optimized, config):
    backbone, scene = draw_backbone(config), draw_scene(config)
    params, image = branch_params(backbone, config, BLOCKS), normal(BATCH, *config.sample, config.out_channels)
    latents, *_, text, t = scene

    @jax.jit
    def steered(backbone, params, scene, image):
        joined = jnp.concatenate([scene[0], image], -1)
        injections = ContextBranch(config, BLOCKS).apply({"params": params}, *scene)
        return Dit(config).apply({"params": backbone}, joined, *scene[-2:], injections)

    plain = jax.jit(Dit(config).apply)({"params": backbone}, jnp.concatenate([latents, image], -1), text, t)
    np.testing.assert_array_equal(steered(backbone, params, scene, image), plain)
    different = steered(backbone, loud(params), scene, image)
    assert np.abs(different - plain).max() > 1e-2


def test_blocks_are_copies_of_the_backbone_s(backbone, params, run, scene):
    latents, render, eig, reference, text, t = scene
    found = run(loud(params), (latents, 0 * render, 0 * eig, reference, text, t))

    @jax.jit
    def start(backbone, joined):
        time = transformer_layers.TimeEmbedding(CONFIG).apply({"params": backbone["time_embedding"]}, t)
        return time, transformer.Embed(CONFIG).apply({"params": backbone["patch_embed"]}, joined, text)

    angles = transformer.rotary_angles_of(transformer.grid_of(latents, CONFIG), CONFIG)
    block = jax.jit(
        lambda own, *tokens: transformer_layers.TransformerBlock(CONFIG).apply({"params": own}, *tokens, angles)
    )
    time, tokens = start(backbone, jnp.concatenate([latents, 0 * latents], -1))
    for k in range(BLOCKS):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], backbone["blocks"]["block"])
        tokens = block(own, *tokens, time)
        np.testing.assert_allclose(found[k], tokens[1], rtol=1e-3, atol=1e-4)


def test_eig_decides_where_the_reference_and_the_branch_count(params, run, scene):
    latents, render, eig, reference, text, t = scene
    params, other = loud(params), normal(*reference.shape)
    features = run(params, scene)
    is_saturated = np.zeros((3, 2, 3), bool)
    is_saturated[2, :, 2] = True
    np.testing.assert_array_equal(features[:, :, is_saturated.ravel()], 0)
    assert np.abs(features[:, :, ~is_saturated.ravel()]).min(axis=(0, 1)).all()
    # Tokens of EIG 0 do not attend to the reference; they see it through other tokens at most.
    changed = run(params, (latents, render, eig, other, text, t)) - features
    has_no_eig = np.arange(CONFIG.tokens) < 6
    np.testing.assert_array_equal(changed[0][:, has_no_eig], 0)
    assert np.abs(changed[0][:, ~has_no_eig & ~is_saturated.ravel()]).max() > 1e-2
    assert np.abs(changed[1][:, has_no_eig]).max() > 1e-4
    silent = [run(params, (latents, render, 0 * eig, one, text, t)) for one in (reference, other)]
    np.testing.assert_array_equal(*silent)
    # EIG's own channel starts at zero: without the reference, only the render makes a difference.
    assert np.abs(run(params, (latents, 2 * render, 0 * eig, other, text, t)) - silent[0]).max() > 1e-2


def test_every_parameter_counts(params, run, scene):
    params = loud(params)
    features, (leaves, form) = run(params, scene), jax.tree_util.tree_flatten_with_path(params)
    for i, (path, leaf) in enumerate(leaves):
        others = [other for _, other in leaves]
        others[i] = leaf + normal(*leaf.shape)
        assert np.abs(run(form.unflatten(others), scene) - features).max() > 1e-4, jax.tree_util.keystr(path)
    kernel = params["patch_embed"]["proj"]["kernel"]
    params["patch_embed"]["proj"]["kernel"] = kernel.at[:, :, -1].add(normal(*kernel.shape[:2], CONFIG.width))
    assert np.abs(run(params, scene) - features).max() > 1e-4


@pytest.mark.parametrize("config", [COGVIDEOX_5B_I2V, COGVIDEOX_15_5B_I2V])
def test_published_size(config):
    shapes = transformer_shapes(config, jnp.bfloat16)
    made = jax.eval_shape(lambda backbone: branch_params(backbone, config), shapes)
    assert made["patch_embed"]["proj"]["kernel"].shape == (*[2] * (1 + config.patch_time), 33, 3072)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.bfloat16)}
    assert made["blocks"]["attn_reference"]["to_q"]["kernel"].shape == (context_branch.BLOCKS, 3072, 3072)


def test_wrong_inputs_are_named(backbone, scene):
    latents, render, eig, *rest = scene
    init = lambda *scene: jax.eval_shape(ContextBranch(CONFIG, BLOCKS).init, jax.random.key(0), *scene)
    with pytest.raises(ValueError, match=r"render \(2, 3, 4, 6, 2\).* must have the same frames, height and width"):
        init(latents, render[..., :2], eig, *rest)
    with pytest.raises(ValueError, match="must have 3 channels"):
        init(latents[..., :2], render, eig, *rest)
    with pytest.raises(ValueError, match=r"eig \(2, 3, 2, 6\) must have the same"):
        init(latents, render, eig[:, :, :2], *rest)
    with pytest.raises(ValueError, match="blocks=6 must be at least 1 and at most the 5 of the backbone"):
        branch_params(backbone, CONFIG, 6)
