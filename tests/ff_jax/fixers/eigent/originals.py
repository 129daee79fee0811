"""CogVideoX of diffusers with random weights, at the sizes of the networks here."""

import numpy as np
import pytest

from ff_jax.fixers.difix.diffusers_flax import hidden_if_broken
from tests.random_inputs import seeded_rng

torch = pytest.importorskip("torch")


with hidden_if_broken("torchvision"):
    diffusers = pytest.importorskip("diffusers")
    for _name in ("CogVideoXTransformer3DModel", "AutoencoderKLCogVideoX", "CogVideoXPipeline"):
        getattr(diffusers, _name)  # imported at its first use


def transformer(config):
    frames, height, width = config.sample
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        time_embed_dim=config.time_dim,
        text_embed_dim=config.text_dim,
        num_layers=config.depth,
        sample_width=width,
        sample_height=height,
        sample_frames=4 * (frames - 1) + 1,
        patch_size=config.patch,
        patch_size_t=None if config.patch_time == 1 else config.patch_time,
        ofs_embed_dim=config.offset_dim or None,
        max_text_seq_length=config.text_length,
        use_rotary_positional_embeddings=config.positions != "sincos",
        use_learned_positional_embeddings=config.positions == "rope_learned",
    ).eval()


def autoencoder(config):
    levels = len(config.widths)
    return diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        block_out_channels=config.widths,
        latent_channels=config.latent_channels,
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
        temporal_compression_ratio=config.time_factor,
    ).eval()


def randomise(network):
    """Draw every weight, scales and biases of normalizations included: nothing is zero or one."""
    rng = seeded_rng()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            small = tensor.ndim == 1 or "pos_embedding" in name
            scale = 0.2 if small else np.prod(tensor.shape[1:]) ** -0.5
            mean = 1 if "norm" in name and name.endswith("weight") and tensor.ndim == 1 else 0
            tensor.copy_(torch.tensor(rng.normal(mean, scale, tensor.shape)))


def rotary(config, frames, height, width):
    """Return the rotations of diffusers' pipeline, or None."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    if config.positions == "sincos":
        return None
    p = config.patch
    if config.positions == "rope_slice":
        grid, largest = (height // p, width // p), (config.sample[1] // p, config.sample[2] // p)
        frames = -(-frames // config.patch_time)
        return get_3d_rotary_pos_embed(config.head_dim, None, grid, frames, grid_type="slice", max_size=largest)
    crop = get_resize_crop_region_for_grid((height // p, width // p), config.sample[2] // p, config.sample[1] // p)
    return get_3d_rotary_pos_embed(config.head_dim, crop, (height // p, width // p), frames)


def sincos(config, grid):
    """Return the positions that diffusers adds, (N, width)."""
    from diffusers.models.embeddings import get_3d_sincos_pos_embed

    frames, rows, columns = grid
    table = get_3d_sincos_pos_embed(
        config.width, (columns, rows), frames, config.spatial_scale, 1.0, output_type="pt"
    )  # fmt: skip
    return table.flatten(0, 1).numpy()


def _transform(network, config, latents, text, t):
    return network(
        hidden_states=torch.tensor(latents.transpose(0, 1, 4, 2, 3)),
        encoder_hidden_states=torch.tensor(text),
        timestep=torch.tensor(t),
        ofs=torch.full((1,), 2.0) if config.offset_dim else None,
        image_rotary_emb=rotary(config, *latents.shape[1:4]),
    ).sample


def run_transformer(network, config, latents, text, t):
    """Return the prediction (B, F, h, w, C)."""
    with torch.no_grad():
        return _transform(network, config, latents, text, t).numpy().transpose(0, 1, 3, 4, 2)


def gradients(network, config, latents, text, t, weights):
    """Return the derivatives of the weighted sum of the prediction for every parameter."""
    network.zero_grad()
    (_transform(network, config, latents, text, t) * torch.tensor(weights.transpose(0, 1, 4, 2, 3))).sum().backward()
    return {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}


def relative(found, expected):
    """Return the relative error in the 2-norm."""
    return np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)


def last(tensor):
    """Return a tensor (B, C, T, H, W) as an array with the channels last."""
    return tensor.numpy().transpose(0, 2, 3, 4, 1)
