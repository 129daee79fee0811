"""The training state, its optimizer, and gradients over a batch that is too large for one pass."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Key, PyTree

from ff_jax.fixers.training.sharding import DATA
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded

# loss(trained, frozen, batch, keys) -> (mean over the samples, metrics that are such means). Sample i of the batch uses
# keys[i] alone, so that the loss of a sample does not depend on the others.
Loss = Callable[[PyTree, PyTree, PyTree, Array], tuple[Array, dict[str, Array]]]


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with linear warm-up and cosine decay.

    Attributes:
        steps: number of steps, after which the learning rate is 0.
        warmup: steps during which the rate rises from 0.
        lr: peak learning rate.
        betas: decay of the moments.
        weight_decay: per step and unit of the rate.
        clip: largest global norm of a gradient; longer ones are scaled to it.
    """

    steps: int = bounded(10_000, 1, MAX_STEPS)
    warmup: int = bounded(1000, 0, MAX_STEPS)
    lr: float = bounded(1e-5, 0.0, 10.0)
    betas: tuple[float, float] = bounded((0.9, 0.95), 0.0, 0.999999)
    weight_decay: float = bounded(1e-2, 0.0, 1e3)
    clip: float = bounded(1.0, 1e-9, 1e9)

    def __post_init__(self):
        """Refuse settings that give no schedule."""
        super().__post_init__()
        if self.warmup >= self.steps:
            raise ValueError(f"warmup={self.warmup} must be less than steps={self.steps}.")


@struct.dataclass
class FixerTrainState:
    """Everything that training of a fixer changes."""

    step: Int[Array, ""]
    params: PyTree  # the trained ones, float32
    opt: PyTree  # optax state over `params`
    key: Key[Array, ""]  # root key: every step folds its number in, so a resumed run repeats it


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Build the optimizer."""
    rate = optax.warmup_cosine_decay_schedule(0.0, config.lr, config.warmup, config.steps)
    adamw = optax.adamw(rate, *config.betas, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw)


def init_state(key: Key[Array, ""], params: PyTree, optimizer: optax.GradientTransformation) -> FixerTrainState:
    """Make the state at step 0; it shares no memory with the arguments, because a step donates its state.

    Args:
        key: random key of the training.
        params: the trained parameters; they are stored in float32, whatever the dtype of the computation.
        optimizer: from `make_optimizer`.
    """
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)
    return FixerTrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), jnp.copy(key))


def split(params: PyTree, trained: tuple[str, ...]) -> tuple[PyTree, PyTree]:
    """Split nested dictionaries into trained and frozen parameters.

    Args:
        params: of a network.
        trained: paths of the trained parts, names joined by "/", such as ("unet", "vae/decoder").

    Raises:
        ValueError: there are no parameters under a path.
    """
    leaves = flatten_dict(params)
    missing = [part for part in trained if not any(_inside(path, part) for path in leaves)]
    if missing:
        raise ValueError(f"no parameters in {', '.join(missing)}: choose among the parts {', '.join(sorted(params))}.")
    chosen = {path: leaf for path, leaf in leaves.items() if any(_inside(path, part) for part in trained)}
    return unflatten_dict(chosen), unflatten_dict({path: leaves[path] for path in leaves if path not in chosen})


def join(trained: PyTree, frozen: PyTree) -> PyTree:
    """Undo `split`."""
    return unflatten_dict(flatten_dict(trained) | flatten_dict(frozen))


def zero_init_output(decoder: PyTree) -> PyTree:
    """Set the last layer ("conv_out") of a decoder to zero, so that any latent decodes to no change."""
    return decoder | {"conv_out": jax.tree.map(jnp.zeros_like, decoder["conv_out"])}


def gradient(
    loss: Loss, params: PyTree, frozen: PyTree, batch: PyTree, keys: Key[Array, "B"], microbatches: int, mesh: Mesh
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    """Compute the gradient of the loss with respect to `params`, and the metrics, "loss" among them.

    The batch is cut into microbatches, and memory holds one of them at a time. The result is that of the whole batch up
    to rounding.

    Args:
        loss: see `Loss`.
        params: the trained parameters, float32; so is the gradient.
        frozen: what else the loss needs.
        batch: arrays with a leading axis of B samples.
        keys: one per sample.
        microbatches: number of microbatches.
        mesh: each microbatch is split over its axis "data".

    Raises:
        ValueError: the number of samples is not divisible, or there is no microbatch.
    """
    if microbatches < 1:
        raise ValueError(f"{microbatches=} must be at least 1.")
    unit = microbatches * mesh.shape[DATA]
    if len(keys) % unit:
        raise ValueError(
            f"{len(keys)} samples do not split into {microbatches} microbatches on {mesh.shape[DATA]} parts of the "
            f"mesh: choose a multiple of {unit}."
        )
    parts = jax.tree.map(lambda leaf: _cut(leaf, microbatches), (batch, keys))
    parts = lax.with_sharding_constraint(parts, NamedSharding(mesh, PartitionSpec(None, DATA)))

    def add(total: PyTree, part: tuple[PyTree, Array]) -> tuple[PyTree, dict[str, Array]]:
        (value, metrics), change = jax.value_and_grad(loss, has_aux=True)(params, frozen, *part)
        return jax.tree.map(jnp.add, total, change), {**metrics, "loss": value}

    if microbatches == 1:
        # No loop around a single one: XLA on CPU runs convolutions in loops many times slower.
        total, metrics = add(jax.tree.map(jnp.zeros_like, params), jax.tree.map(lambda leaf: leaf[0], parts))
    else:
        total, metrics = lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
    return jax.tree.map(lambda leaf: leaf / microbatches, total), jax.tree.map(jnp.mean, metrics)


def _inside(path: tuple[str, ...], part: str) -> bool:
    names = tuple(part.split("/"))
    return path[: len(names)] == names


def _cut(leaf: Array, parts: int) -> Array:
    # Every parts-th sample: those of one device stay on it.
    return leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1)
