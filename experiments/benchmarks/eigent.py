"""Time one denoising step and one decoding of the video fixer, beside PyTorch diffusers; or its training steps.

python -m experiments.benchmarks.eigent --torch               # 49 x 480 x 720: 17,550 tokens, 5.6 billion parameters
python -m experiments.benchmarks.eigent --torch --compile     # the baseline also through torch.compile
python -m experiments.benchmarks.eigent --train=1,2           # training steps on one device and on two
python -m experiments.benchmarks.eigent --layout=tiny --torch # seconds on a CPU

Weights are random and 16-bit; attention uses cuDNN on a GPU. Each framework runs in a process of its own, one after the
other, so that neither holds the memory of the other. Training updates the context branch beside the frozen backbone,
with one clip per device and step; activations are recomputed in the backward pass.
"""

import json
import time

import jax
import jax.numpy as jnp
from absl import flags
from jaxtyping import Array, PyTree

from experiments.benchmarks.timing import measure, peak_gib, random_params, round_figures, run_baseline
from experiments.cli import command_line
from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent import network_config as sizes
from ff_jax.fixers.eigent import vae
from ff_jax.fixers.eigent.context_branch import BLOCKS, ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, DenoisingLossConfig, make_loss
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.training.loop import make_step
from ff_jax.fixers.training.sharding import make_mesh, place, shard, shard_batch, shardings
from ff_jax.fixers.training.state import OptimizerConfig, init_state, make_optimizer
from kernels.tools.timing import time_ms

LAYOUTS: dict[str, tuple[DitConfig, VideoVaeConfig]] = {
    "5b": (sizes.COGVIDEOX_5B, sizes.VAE_5B),
    "tiny": (
        DitConfig(depth=2, heads=2, head_dim=16, text_dim=8, text_length=6, time_dim=16, sample=(3, 4, 6)),
        VideoVaeConfig(widths=(8, 8, 8, 8), layers=1, groups=4),
    ),
}
_LAYOUT = flags.DEFINE_enum("layout", "5b", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Number of timed calls.", lower_bound=1, upper_bound=1_000_000)
_ATTENTION = flags.DEFINE_enum("attention", "", ["", "xla", "cudnn"], "Empty: cudnn on a GPU, else xla.")
_PEAK = flags.DEFINE_float(
    "peak", 989.0, "16-bit peak of the device, TFLOP/s: an H100 SXM.", lower_bound=1.0, upper_bound=1e06
)
_VAE = flags.DEFINE_bool("vae", True, "Also time the decoding.")
_TORCH = flags.DEFINE_bool("torch", False, "Also time diffusers, if it and torch are installed.")
_COMPILE = flags.DEFINE_bool("compile", False, "Also time the baseline through torch.compile.")
_TRAIN = flags.DEFINE_list("train", [], "Numbers of devices: time training steps instead.")


def step_tflop(config: DitConfig) -> float:
    """Count the operations of one step in units of 10^12: products in the layers and attentions of all blocks."""
    tokens = config.tokens + config.text_length
    layers = 2 * tokens * 12 * config.width**2
    return config.depth * (layers + 4 * tokens**2 * config.width) / 1e12


def measure_denoising(config: DitConfig, implementation: str) -> dict[str, float]:
    """Measure one call of the transformer."""
    params = random_params(transformer_shapes(config))
    network = Dit(config, jnp.bfloat16, implementation)
    latents = jax.random.normal(jax.random.key(0), (1, *config.sample, config.in_channels), jnp.bfloat16)
    text = jax.random.normal(jax.random.key(1), (1, config.text_length, config.text_dim), jnp.bfloat16)

    def denoise(params: PyTree, latents: Array, text: Array, timestep: Array) -> Array:
        return network.apply({"params": params}, latents, text, timestep)

    figures = measure(denoise, params, latents, text, jnp.array([500]), repeats=_REPEATS.value)
    tflop = step_tflop(config)
    return figures | {"tflop": round(tflop, 3), "mfu": round(tflop / figures["ms"] * 1e3 / _PEAK.value, 4)}


def measure_decoding(config: DitConfig, video: VideoVaeConfig) -> dict[str, float]:
    """Measure the decoding of latents of the transformer's size."""
    params = random_params(jax.eval_shape(lambda key: vae.init_params(key, video), jax.random.key(0)))
    latents = jax.random.normal(jax.random.key(0), (1, *config.sample, video.latent_channels))
    ms = time_ms(lambda: vae.decode(video, params, latents, jnp.bfloat16), repeats=min(_REPEATS.value, 2))
    return {"ms": round(ms, 3), "peak_gib": round(peak_gib(), 3)}


def measure_training(config: DitConfig, implementation: str, count: int) -> dict[str, float]:
    """Measure training steps of the branch on `count` devices, with one clip on each."""
    mesh, shapes = make_mesh(count, 1, jax.devices()[:count]), transformer_shapes(config)
    num_blocks = min(BLOCKS, config.depth)
    branch = jax.eval_shape(lambda backbone: branch_params(backbone, config, num_blocks), shapes)
    networks = (
        Dit(config, jnp.bfloat16, implementation, remat=True),
        ContextBranch(config, num_blocks, dtype=jnp.bfloat16, implementation=implementation),
    )
    optimizer = make_optimizer(OptimizerConfig())
    step = make_step(make_loss(*networks, DenoisingLossConfig()), optimizer, mesh)
    state = init_state(jax.random.key(0), random_params(branch), optimizer)
    state = place(state, shardings(state, mesh))
    frozen, batch = shard(random_params(shapes), mesh), shard_batch(_random_clips(config, count), mesh)
    seconds = []
    for _ in range(_REPEATS.value + 2):  # the first ones compile and warm up
        start = time.perf_counter()
        state, metrics = step(state, frozen, batch)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    median, tokens = sorted(seconds[2:])[(len(seconds) - 2) // 2], count * config.tokens
    figures = {"ms": 1e3 * median, "first_s": seconds[0], "clips_per_s": count / median}
    return round_figures(figures | {"tokens_per_s": tokens / median, "peak_gib": peak_gib(count)})


def _random_clips(config: DitConfig, count: int) -> Clips:
    shape, keys = (count, *config.sample, config.out_channels), jax.random.split(jax.random.key(0), 5)
    videos = [jax.random.normal(key, shape) for key in keys[:3]]
    eig = jax.random.uniform(keys[3], shape[:-1])
    text = jax.random.normal(keys[4], (count, config.text_length, config.text_dim))
    return Clips(videos[0], videos[1], eig, videos[2], text)


def main(_: list[str]) -> None:
    """Time both, or the training, and print a line of JSON for each."""
    dit, video = LAYOUTS[_LAYOUT.value]
    implementation = _ATTENTION.value or ("cudnn" if jax.default_backend() == "gpu" else "xla")
    facts = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "attention": implementation}
    counts, num_devices = command_line.parse_numbers(_TRAIN, int), len(jax.devices())
    if any(not 1 <= count <= num_devices for count in counts):
        raise ValueError(
            f"invalid --train={','.join(_TRAIN.value)}: expected numbers of devices from 1 to {num_devices}."
        )
    for count in counts:
        figures = {"devices": count} | measure_training(dit, implementation, count)
        print(json.dumps({"training": facts | figures}), flush=True)
    if counts:
        return
    for compiled in [False, True][: 1 + _COMPILE.value] if _TORCH.value else ():
        arguments = {"layout": _LAYOUT.value, "repeats": _REPEATS.value, "compiled": compiled}
        figures = run_baseline("torch_cogvideox", arguments | {"vae": _VAE.value and not compiled})
        print(json.dumps({"torch.compile" if compiled else "torch eager": figures}), flush=True)
    figures = {"tokens": dit.tokens, "step": measure_denoising(dit, implementation)}
    print(json.dumps({"jax": facts | figures}), flush=True)
    if _VAE.value:
        print(json.dumps({"jax vae": measure_decoding(dit, video)}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
