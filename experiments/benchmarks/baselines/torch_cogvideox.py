"""Time CogVideoX of PyTorch diffusers with random 16-bit weights: one denoising step and one decoding.

    python -m experiments.benchmarks.baselines.torch_cogvideox --layout=5b --compiled

Started by `experiments.benchmarks.eigent --torch`; prints a line of JSON.
"""

import json
from typing import Any

import torch
from absl import app, flags

from experiments.benchmarks.baselines.torch_timing import measure
from ff_jax.fixers.difix.diffusers_flax import hidden_if_broken

with hidden_if_broken("torchvision"):  # diffusers imports its classes when they are first named
    import diffusers
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

_LAYOUT = flags.DEFINE_enum("layout", "5b", ["5b", "tiny"], "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Number of timed calls.", lower_bound=1, upper_bound=1_000_000)
_COMPILED = flags.DEFINE_bool("compiled", False, "Use torch.compile.")
_VAE = flags.DEFINE_bool("vae", True, "Also time the decoding.")

# Heads, channels per head, blocks, text (tokens, channels), channels of the time embedding, (frames, height, width).
LAYOUTS = {"5b": (48, 64, 42, (226, 4096), 512, (13, 60, 90)), "tiny": (2, 16, 2, (6, 8), 16, (3, 4, 6))}
AUTOENCODERS = {"5b": ((128, 256, 256, 512), 3, 32), "tiny": ((8, 8, 8, 8), 1, 4)}  # channels, layers, groups
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def transformer() -> tuple[torch.nn.Module, dict[str, Any]]:
    """Build the network and the arguments of a call."""
    heads, channels, blocks, (words, text_dim), time_dim, (frames, height, width) = LAYOUTS[_LAYOUT.value]
    with torch.device(_DEVICE):
        torch.set_default_dtype(torch.bfloat16)
        network = CogVideoXTransformer3DModel(
            num_attention_heads=heads,
            attention_head_dim=channels,
            num_layers=blocks,
            text_embed_dim=text_dim,
            max_text_seq_length=words,
            time_embed_dim=time_dim,
            sample_frames=4 * (frames - 1) + 1,
            sample_height=height,
            sample_width=width,
            use_rotary_positional_embeddings=True,
        ).eval()
        tokens = frames * (height // 2) * (width // 2)
        angles = torch.rand(tokens, channels, dtype=torch.float32)
        arguments = {
            "hidden_states": torch.randn(1, frames, 16, height, width),
            "encoder_hidden_states": torch.randn(1, words, text_dim),
            "timestep": torch.tensor([500]),
            "image_rotary_emb": (angles.cos(), angles.sin()),
        }
    return network, arguments


def autoencoder() -> tuple[torch.nn.Module, torch.Tensor]:
    """Build the video autoencoder and latents."""
    frames, height, width = LAYOUTS[_LAYOUT.value][-1]
    widths, layers, groups = AUTOENCODERS[_LAYOUT.value]
    with torch.device(_DEVICE):
        network = AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=widths,
            layers_per_block=layers,
            norm_num_groups=groups,
            latent_channels=16,
        ).eval()
        return network, torch.randn(1, 16, frames, height, width)


def main(_: list[str]) -> None:
    """Time the step and the decoding; print a line of JSON."""
    network, arguments = transformer()
    figures: dict[str, Any] = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    with torch.no_grad():
        network = torch.compile(network) if _COMPILED.value else network
        figures["step"] = measure(lambda: network(**arguments), _REPEATS.value, _DEVICE)
        if _VAE.value:
            del network, arguments
            print(json.dumps(figures), flush=True)  # in case the decoding fails
            video, latents = autoencoder()
            figures["vae"] = measure(lambda: video.decode(latents), min(_REPEATS.value, 2), _DEVICE)
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
