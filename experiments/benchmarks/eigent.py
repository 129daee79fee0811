"""One denoising step and one decoding of the video generator, beside PyTorch diffusers in the same run; its training.

python -m experiments.benchmarks.eigent --torch               # 49 x 480 x 720: 17,550 tokens, 5.6 billion parameters
python -m experiments.benchmarks.eigent --torch --compile     # the peer through torch.compile as well
python -m experiments.benchmarks.eigent --train=1,2           # training steps on one device and on two
python -m experiments.benchmarks.eigent --layout=tiny --torch # seconds on a CPU

Weights are random and 16-bit; attention goes through cuDNN on a GPU. Each framework has a process of its own, one after
the other, so that neither holds the other's memory. Training is that of the context branch beside the frozen backbone,
a clip per device and step, activations computed again in the backward pass.
"""

import json
import time

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmarks.timing import measure, peer, random_params
from experiments.cli import command_line
from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent import network_config as sizes
from ff_jax.fixers.eigent import vae
from ff_jax.fixers.eigent.context_branch import BLOCKS, ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, ObjectiveConfig, make_loss
from ff_jax.fixers.eigent.network_config import DitConfig, VaeConfig
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.training.loop import make_step
from ff_jax.fixers.training.sharding import make_mesh, place, shard, shard_batch, shardings
from ff_jax.fixers.training.state import OptimizerConfig, init_state, make_optimizer
from kernels.common.timing import time_ms

LAYOUTS: dict[str, tuple[DitConfig, VaeConfig]] = {
    "5b": (sizes.COGVIDEOX_5B, sizes.VAE_5B),
    "tiny": (
        DitConfig(depth=2, heads=2, head_dim=16, text_dim=8, text_length=6, time_dim=16, sample=(3, 4, 6)),
        VaeConfig(widths=(8, 8, 8, 8), layers=1, groups=4),
    ),
}
_LAYOUT = flags.DEFINE_enum("layout", "5b", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls.", lower_bound=1)
_ATTENTION = flags.DEFINE_enum("attention", "", ["", "xla", "cudnn"], "Empty: cudnn on a GPU, else xla.")
_PEAK = flags.DEFINE_float("peak", 989.0, "Of the device in 16 bits, TFLOP/s: an H100 SXM.", lower_bound=1.0)
_VAE = flags.DEFINE_bool("vae", True, "Also decode.")
_TORCH = flags.DEFINE_bool("torch", False, "Also time diffusers, if it and torch are there.")
_COMPILE = flags.DEFINE_bool("compile", False, "Also through torch.compile.")
_TRAIN = flags.DEFINE_list("train", [], "Instead of these: training steps on how many devices.")


def step_tflop(config: DitConfig) -> float:
    """Return the 10^12 operations of one step: products of the blocks' layers and of their attention."""
    tokens = config.tokens + config.text_length
    layers = 2 * tokens * 12 * config.width**2
    return config.depth * (layers + 4 * tokens**2 * config.width) / 1e12


def denoising(config: DitConfig, implementation: str) -> dict[str, float]:
    """Return the figures of one call of the transformer."""
    params = random_params(transformer_shapes(config))
    network = Dit(config, jnp.bfloat16, implementation)
    latents = jax.random.normal(jax.random.key(0), (1, *config.sample, config.in_channels), jnp.bfloat16)
    text = jax.random.normal(jax.random.key(1), (1, config.text_length, config.text_dim), jnp.bfloat16)
    call = lambda params, *given: network.apply({"params": params}, *given)
    found = measure(call, params, latents, text, jnp.array([500]), repeats=_REPEATS.value)
    tflop = step_tflop(config)
    return found | {"tflop": round(tflop, 3), "mfu": round(tflop / found["ms"] * 1e3 / _PEAK.value, 4)}


def decoding(config: DitConfig, video: VaeConfig) -> dict[str, float]:
    """Return the figures of decoding latents of the transformer's size."""
    params = random_params(jax.eval_shape(lambda key: vae.init_params(key, video), jax.random.key(0)))
    latents = jax.random.normal(jax.random.key(0), (1, *config.sample, video.latent_channels))
    decode = lambda: vae.decode(video, params, latents, jnp.bfloat16)
    ms = time_ms(decode, repeats=min(_REPEATS.value, 2))
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return {"ms": round(ms, 3), "peak_gib": round(peak / 2**30, 3)}


def training(config: DitConfig, implementation: str, count: int) -> dict[str, float]:
    """Return the figures of training steps of the branch on `count` devices, a clip on each."""
    mesh, shapes = make_mesh(count, 1, jax.devices()[:count]), transformer_shapes(config)
    branch = jax.eval_shape(lambda backbone: branch_params(backbone, config, min(BLOCKS, config.depth)), shapes)
    networks = (
        Dit(config, jnp.bfloat16, implementation, remat=True),
        ContextBranch(config, min(BLOCKS, config.depth), dtype=jnp.bfloat16, implementation=implementation),
    )
    optimizer = make_optimizer(OptimizerConfig())
    step = make_step(make_loss(*networks, ObjectiveConfig()), optimizer, mesh)
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
    peak = max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.devices()[:count])
    found = {"ms": 1e3 * median, "first_s": seconds[0], "clips_per_s": count / median, "tokens_per_s": tokens / median}
    return {name: float(f"{value:.4g}") for name, value in (found | {"peak_gib": peak / 2**30}).items()}


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
    about = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "attention": implementation}
    counts, there = command_line.numbers(_TRAIN, int), len(jax.devices())
    if any(not 1 <= count <= there for count in counts):
        raise ValueError(f"--train={','.join(_TRAIN.value)} is wrong: give numbers of devices from 1 to {there}.")
    for count in counts:
        print(json.dumps({"training": about | {"devices": count} | training(dit, implementation, count)}), flush=True)
    if _TRAIN.value:
        return
    for compiled in [False, True][: 1 + _COMPILE.value] if _TORCH.value else ():
        given = {"layout": _LAYOUT.value, "repeats": _REPEATS.value, "compiled": compiled}
        found = peer("torch_cogvideox", given | {"vae": _VAE.value and not compiled})
        print(json.dumps({"torch.compile" if compiled else "torch eager": found}), flush=True)
    found = about | {"tokens": dit.tokens, "step": denoising(dit, implementation)}
    print(json.dumps({"jax": found}), flush=True)
    if _VAE.value:
        print(json.dumps({"jax vae": decoding(dit, video)}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
