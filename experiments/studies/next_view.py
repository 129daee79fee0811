"""Compare ways to select 8 of 40 views: by expected information gain, at random, or far from each other.

python -m experiments.studies.next_view --workdir=runs/next_view --seeds=0,1,2,3,4

The candidates of a street are 10 moments (every second of --moments) of 4 cameras: the three of the rig, and the front
camera 3 m to the left. All methods start from the same two views (the front camera, early and halfway), add six, and
reconstruct from their eight views (--views) with the same number of steps. The test views are those of all four
cameras at the moments in between. Figures: the PSNR of all their pixels, and the mean of the PSNR of views, in which a
failed view counts less. EIG adds its six views in `--rounds` parts, each after a reconstruction from the views so far.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Float

from experiments.cli import command_line
from experiments.studies.measures.reconstruction import reconstruct_log
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import scene_information
from ff_jax.eig.view_selection import SCORES, select_views
from ff_jax.metrics.image import psnr
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.run import Run
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress
from ff_jax.scene import SceneModel, View, render_scene
from ff_jax.train.batches import view_of

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag()
_SEEDS = command_line.seeds_flag(5)
_STEPS = flags.DEFINE_integer(
    "steps",
    400,
    "Training steps from eight views; 0: the initial points are scored.",
    lower_bound=0,
    upper_bound=100_000_000,
)
_WIDTH = flags.DEFINE_integer(
    "width", 104, "Image width, pixels; the height is 8/13 of it.", lower_bound=16, upper_bound=16_384
)
_SCORE = flags.DEFINE_enum("score", "pixels", SCORES, "Score of a view (`ff_jax/eig/view_selection.py`).")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Number of reconstructions that select views, each its part.", lower_bound=1, upper_bound=6
)
_MOMENTS = flags.DEFINE_integer(
    "moments", 20, "Time steps of a street; every second one has candidates.", lower_bound=4, upper_bound=1_000_000
)
_VIEWS = flags.DEFINE_integer(
    "views", 8, "Number of selected views, with the two initial ones.", lower_bound=3, upper_bound=1_000_000
)
_NUM_RANDOM = flags.DEFINE_integer(
    "num_random", 2, "Random selections to average over.", lower_bound=1, upper_bound=1_000_000
)

CAMERAS, LEFT = ("front", "front_left", "front_right"), 3.0
DIRECTION_WEIGHT = 5.0  # meters: weight of the viewing direction beside the position, for the farthest-point selection
_TARGET_STRIDE = 3  # every third candidate is a target of the score "targets": all cameras in turn
_MIN_NOISE = 0.05  # two views are soon fitted with smaller residuals than any other view can be predicted


def start() -> tuple[int, int]:
    """List the initial views: front camera, early and halfway; candidates are ordered by time, four cameras each."""
    return 0, -(-_MOMENTS.value // 2) // 2 * (len(CAMERAS) + 1)


def views_of(seed: int) -> tuple[SceneData, list[Frame], list[Frame]]:
    """Make the log, its candidates and its held-out frames."""
    street = StreetConfig(num_frames=_MOMENTS.value, moving=False)
    log = street_log(seed, street, _WIDTH.value, round(_WIDTH.value * 8 / 13), CAMERAS, test_shifts=(LEFT,))
    used = [f for f in log.frames if f.split == "train" or f.camera == "front"]
    used = [dataclasses.replace(f, split="train", exposure_id=0, camera=_camera(f)) for f in used]
    used.sort(key=lambda f: f.time_index)
    candidates, held_out = ([f for f in used if f.time_index % 2 == rest] for rest in (0, 1))
    return dataclasses.replace(log, frames=tuple(used)), candidates, held_out


def _camera(frame: Frame) -> str:
    """Name the camera of a frame; the shifted one is a camera of its own, since a camera has one frame at a time."""
    return frame.camera if frame.split == "train" else f"{frame.camera}_{LEFT:g}m_left"


def settings_for(seed: int, steps: int) -> FuseConfig:
    """Build the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    density = dataclasses.replace(config.recon.density, start=100, stop=max(steps - 100, 101))
    recon = dataclasses.replace(
        config.recon, density=density, budget=min(config.recon.budget, 8000), sh_every=max(steps, 1)
    )
    init = dataclasses.replace(config.init, points=min(config.init.points, 5000))
    return command_line.reconstruction_config(config, steps, seed=seed, recon=recon, init=init)


def reconstruct(
    log: SceneData, frames: Sequence[Frame], config: FuseConfig, folder: Path, others: Sequence[Frame]
) -> Run:
    """Reconstruct from `frames`, with a renderer capacity that is sufficient for `others`."""
    run = reconstruct_log(log, config, folder, tuple(frames), f"{len(frames)} views")
    return run.reserve([view_of(frame, 0) for frame in others])


def by_information(log: SceneData, candidates: list[Frame], config: FuseConfig, folder: Path) -> list[int]:
    """Select views by EIG, in several rounds, each from a reconstruction of the views selected before."""
    order = list(start())
    num_added = _VIEWS.value - len(order)
    for part in np.array_split(np.arange(num_added), min(_ROUNDS.value, num_added)):
        run = reconstruct(log, [candidates[i] for i in order], config, folder / f"{len(order)}_views", candidates)
        order += most_informative(run, candidates, order, len(part))
    return order


def most_informative(run: Run, candidates: list[Frame], selected: list[int], count: int) -> list[int]:
    """Select the views that are most informative for a reconstruction from the selected ones."""
    model, priors = run.scene.replace(sh_degree=0), run.config.eig.priors
    information = scene_information(model, run.batches, priors.misfit)
    rest = [i for i in range(len(candidates)) if i not in selected]
    views = [view_of(frame, 0) for frame in candidates]
    selection = select_views(
        model,
        information.precision,
        [views[i] for i in rest],
        count,
        noise=jnp.maximum(information.noise, _MIN_NOISE),
        priors=priors,
        score=_SCORE.value,
        targets=views[::_TARGET_STRIDE],
    )
    return [rest[i] for i in selection.order]


def by_distance(candidates: list[Frame]) -> list[int]:
    """Select greedily the view farthest from the selected ones, in position and viewing direction."""
    poses = np.stack([frame.world_from_camera for frame in candidates])
    places = np.concatenate([poses[:, :3, 3], DIRECTION_WEIGHT * poses[:, :3, 2]], 1)
    order = list(start())
    while len(order) < _VIEWS.value:
        gap = np.linalg.norm(places[:, None] - places[order], axis=-1).min(1)
        order.append(int(np.argmax(gap)))
    return order


def at_random(seed: int, index: int, count: int) -> list[int]:
    """Select views at random."""
    rest = [i for i in range(count) if i not in start()]
    rng = np.random.default_rng([seed, index])
    return [*start(), *(int(i) for i in rng.choice(rest, _VIEWS.value - len(start()), replace=False))]


def held_out_psnr(run: Run, frames: list[Frame]) -> Float[np.ndarray, "F"]:
    """Measure the PSNR (dB) of each held-out frame."""
    model = run.scene.replace(sh_degree=0)
    return np.array([float(_view_psnr(model, view_of(frame, 0), load_image(frame))) for frame in frames])


@jax.jit
def _view_psnr(model: SceneModel, view: View, image: Float[np.ndarray, "H W 3"]) -> Float[Array, ""]:
    """Compute the PSNR (dB) of a render."""
    return psnr(jnp.clip(render_scene(model, view).rgb, 0, 1), image)


def study_seed(seed: int, workdir: Path) -> dict:
    """Run all methods on one street; return the selected views and the PSNR of held-out frames."""
    log, candidates, held_out = views_of(seed)
    if _VIEWS.value > len(candidates):
        raise ValueError(
            f"invalid --views={_VIEWS.value}: expected at most {len(candidates)}, the number of candidates "
            f"with --moments={_MOMENTS.value}."
        )
    config = settings_for(seed, _STEPS.value)
    orders = {
        "information": by_information(log, candidates, settings_for(seed, _STEPS.value // 2), workdir / "start"),
        "farthest": by_distance(candidates),
    }
    orders |= {f"random{index}": at_random(seed, index, len(candidates)) for index in range(_NUM_RANDOM.value)}
    result = {}
    for name, order in progress(list(orders.items()), f"seed {seed}"):
        run = reconstruct(log, [candidates[i] for i in order], config, workdir / name, held_out)
        result[name] = {"views": order, "psnr": held_out_psnr(run, held_out).tolist()}
    return result


def overall_psnr(psnr: Sequence[float]) -> float:
    """Compute the PSNR (dB) of all pixels from that of views of equal size."""
    return float(-10 * np.log10(np.mean(10 ** (-np.asarray(psnr) / 10))))


def report(results: dict[int, dict]) -> str:
    """Format the table of all seeds as Markdown."""
    names = ("information", "random", "farthest")
    measures = {"all pixels": overall_psnr, "mean of views": np.mean, "worst view": np.min}

    def mean_of(result: dict, prefix: str, measure: Callable) -> float:
        return np.mean([measure(entry["psnr"]) for name, entry in result.items() if name.startswith(prefix)])

    def row(result: dict) -> list[float]:
        return [mean_of(result, name, measure) for measure in measures.values() for name in names]

    rows = np.array([row(result) for result in results.values()])
    head = ["seed", *(f"{measure}: {name}" for measure in measures for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, values in [*zip(results, rows, strict=True), ("mean", rows.mean(0))]:
        lines.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in values) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Study all seeds that are not finished and print the table."""
    out, results = Path(_WORKDIR.value), {}
    for seed in command_line.parse_numbers(_SEEDS, int):
        path = out / f"seed{seed}" / "next_view.json"
        if not path.is_file():
            result = study_seed(seed, out / f"seed{seed}")
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(result))
        results[seed] = json.loads(path.read_text())
    table = report(results)
    with atomic_write(out / "table.md") as temporary:
        temporary.write_text(table)
    print(table)


if __name__ == "__main__":
    command_line.run(main)
