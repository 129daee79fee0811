"""Which 8 of 40 views to take: chosen by information gain, at random, or far from each other.

python -m experiments.studies.next_view --workdir=runs/next_view --seeds=0,1,2,3,4

The candidates of a street are 10 moments (every second of --moments) of 4 cameras: the three of the rig, and the front
camera 3 m to the left. Every method starts from the same two views (the front camera, early and halfway), adds six,
and reconstructs from its eight (--views) alone, with the same number of steps. Measured at the moments in between, all
four cameras: the PSNR of all held-out pixels together, and the mean of the views' PSNR, for which a view that is missed
altogether counts little. EIG adds its six in `--rounds` parts, each after a reconstruction from what it has by then.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Float

from experiments.cli import command_line
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.eig.scene_posterior import observe
from ff_jax.eig.view_selection import SCORES, select_views
from ff_jax.metrics.image import psnr
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import make_feed, start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import progress
from ff_jax.scene import Scene, render_scene
from ff_jax.scene.scene import View
from ff_jax.train.batches import view_of
from ff_jax.train.loop import Recipe, Run, count_needed, fitted

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, one below it per seed.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Streets; finished ones are only read.")
_STEPS = flags.DEFINE_integer(
    "steps", 400, "Training steps from eight views; 0 judges the first points.", lower_bound=0
)
_WIDTH = flags.DEFINE_integer("width", 104, "Image width, pixels; the height is 8/13 of it.", lower_bound=16)
_SCORE = flags.DEFINE_enum(
    "score", "pixels", SCORES, "What information of a view means (`ff_jax/eig/view_selection.py`)."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Reconstructions that choose, each its share.", lower_bound=1, upper_bound=6
)
_MOMENTS = flags.DEFINE_integer("moments", 20, "Of a street; every second one gives candidates.", lower_bound=4)
_VIEWS = flags.DEFINE_integer("views", 8, "Taken of the candidates, the two of the start among them.", lower_bound=3)
_DRAWS = flags.DEFINE_integer("draws", 2, "Random selections to average over.", lower_bound=1)

CAMERAS, LEFT = ("front", "front_left", "front_right"), 3.0
REACH = 5.0  # metres of view direction that count like a metre of position, for the farthest-point choice
_EVERY = 3  # of the candidates, every third is wanted by "wanted": all cameras in turn, at a third of the time
_NOISE = 0.05  # smallest noise believed: two views are soon fitted better than anything can be predicted


def start() -> tuple[int, int]:
    """Return the front camera early and halfway: candidates are ordered by moment, four cameras each."""
    return 0, -(-_MOMENTS.value // 2) // 2 * (len(CAMERAS) + 1)


def views_of(seed: int) -> tuple[SceneData, list[Frame], list[Frame]]:
    """Return the log, its candidates and its held-out frames."""
    world = WorldConfig(num_frames=_MOMENTS.value, moving=False)
    log = world_scene(seed, world, _WIDTH.value, round(_WIDTH.value * 8 / 13), CAMERAS, test_shifts=(LEFT,))
    used = [f for f in log.frames if f.split == "train" or f.camera == "front"]
    used = [dataclasses.replace(f, split="train", exposure_id=0) for f in used]
    used.sort(key=lambda f: f.time_index)
    even = lambda rest: [f for f in used if f.time_index % 2 == rest]
    return dataclasses.replace(log, frames=tuple(used)), even(0), even(1)


def settings_for(seed: int, steps: int) -> FuseConfig:
    """Return the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    density = dataclasses.replace(config.recon.density, start=100, stop=max(steps - 100, 101))
    recon = dataclasses.replace(config.recon, density=density, budget=min(config.recon.budget, 8000), sh_every=steps)
    init = dataclasses.replace(config.init, points=min(config.init.points, 5000))
    return command_line.alone(config, steps, seed=seed, recon=recon, init=init)


def reconstruct(
    log: SceneData, frames: list[Frame], config: FuseConfig, folder: Path, others: list[Frame]
) -> tuple[Run, Recipe]:
    """Return the scene trained on `frames`, with room for looking at `others`."""
    feed = make_feed(log, tuple(frames), config)
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps, shapes_only=is_begun(folder))
    run, recipe = run_phase(folder, f"{len(frames)} views", run, recipe, config.steps, feed, config)
    needed = count_needed(run.state.scene, [view_of(frame, 0) for frame in others], recipe.settings)
    return run, dataclasses.replace(recipe, settings=fitted(recipe.settings, needed))


def by_information(log: SceneData, pool: list[Frame], config: FuseConfig, folder: Path) -> list[int]:
    """Choose the views that tell most, some at a time, each time given a reconstruction from those before."""
    chosen = list(start())
    more = _VIEWS.value - len(chosen)
    for part in np.array_split(np.arange(more), min(_ROUNDS.value, more)):
        chosen += most_telling(log, pool, chosen, len(part), config, folder / f"{len(chosen)}_views")
    return chosen


def most_telling(
    log: SceneData, pool: list[Frame], known: list[int], count: int, config: FuseConfig, folder: Path
) -> list[int]:
    """Choose the views that tell most to a reconstruction from the known ones."""
    frames = [pool[i] for i in known]
    run, recipe = reconstruct(log, frames, config, folder, pool)
    feed, priors = make_feed(log, tuple(frames), config), config.eig.priors
    evidence = observe(run.state.scene, feed, recipe.settings, 0, priors.misfit)
    noise = jnp.maximum(evidence.noise, _NOISE)
    left = [i for i in range(len(pool)) if i not in known]
    views = [view_of(frame, 0) for frame in pool]
    options = dict(noise=noise, priors=priors, sh_degree=0, score=_SCORE.value, wanted=views[::_EVERY])
    candidates = [views[i] for i in left]
    choice = select_views(run.state.scene, evidence.precision, candidates, count, recipe.settings, **options)
    return [left[i] for i in choice.order]


def by_distance(pool: list[Frame]) -> list[int]:
    """Choose greedily the view farthest from those chosen, in position and in what it looks at."""
    poses = np.stack([frame.world_from_camera for frame in pool])
    places = np.concatenate([poses[:, :3, 3], REACH * poses[:, :3, 2]], 1)
    order = list(start())
    while len(order) < _VIEWS.value:
        gap = np.linalg.norm(places[:, None] - places[order], axis=-1).min(1)
        order.append(int(np.argmax(gap)))
    return order


def at_random(seed: int, draw: int, count: int) -> list[int]:
    """Choose at random."""
    left = [i for i in range(count) if i not in start()]
    rng = np.random.default_rng([seed, draw])
    return [*start(), *(int(i) for i in rng.choice(left, _VIEWS.value - len(start()), replace=False))]


def held_out_psnr(run: Run, recipe: Recipe, frames: list[Frame]) -> Float[np.ndarray, "F"]:
    """Return the PSNR (dB) of every held-out frame."""
    quality = lambda frame: _quality(run.state.scene, view_of(frame, 0), load_image(frame), recipe.settings)
    return np.array([float(quality(frame)) for frame in frames])


@functools.partial(jax.jit, static_argnames=("settings",))
def _quality(scene: Scene, view: View, image: Float[np.ndarray, "H W 3"], settings: RenderSettings) -> Float[Array, ""]:
    """Return the PSNR (dB) of a render."""
    return psnr(jnp.clip(render_scene(scene, view, settings, 0).rgb, 0, 1), image)


def study_seed(seed: int, workdir: Path) -> dict:
    """Run all methods on one street; return the chosen views and the PSNR on held-out ones."""
    log, pool, held_out = views_of(seed)
    if _VIEWS.value > len(pool):
        raise ValueError(
            f"--views={_VIEWS.value} are more than the {len(pool)} candidates of --moments={_MOMENTS.value}."
        )
    config = settings_for(seed, _STEPS.value)
    chosen = {
        "information": by_information(log, pool, settings_for(seed, _STEPS.value // 2), workdir / "start"),
        "farthest": by_distance(pool),
    }
    chosen |= {f"random{draw}": at_random(seed, draw, len(pool)) for draw in range(_DRAWS.value)}
    result = {}
    for name, order in progress(list(chosen.items()), f"seed {seed}"):
        run, recipe = reconstruct(log, [pool[i] for i in order], config, workdir / name, held_out)
        result[name] = {"views": order, "psnr": held_out_psnr(run, recipe, held_out).tolist()}
    return result


def together(psnr: Sequence[float]) -> float:
    """Return the PSNR (dB) of all pixels of views of one size from those of the views."""
    return float(-10 * np.log10(np.mean(10 ** (-np.asarray(psnr) / 10))))


def report(results: dict[int, dict]) -> str:
    """Return the table of all seeds as Markdown."""
    names = ("information", "random", "farthest")
    measures = {"all pixels": together, "mean of views": np.mean, "worst view": np.min}
    of = lambda result, start, measure: np.mean([measure(r["psnr"]) for n, r in result.items() if n.startswith(start)])
    row = lambda result: [of(result, name, measure) for measure in measures.values() for name in names]
    rows = np.array([row(result) for result in results.values()])
    head = ["seed", *(f"{measure}: {name}" for measure in measures for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, values in [*zip(results, rows, strict=True), ("mean", rows.mean(0))]:
        lines.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in values) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Run all seeds (finished ones are only read) and print the table."""
    out, results = Path(_WORKDIR.value), {}
    for seed in command_line.numbers(_SEEDS, int):
        written = out / f"seed{seed}" / "next_view.json"
        if not written.is_file():
            result = study_seed(seed, out / f"seed{seed}")
            with replacing(written) as temporary:
                temporary.write_text(json.dumps(result))
        results[seed] = json.loads(written.read_text())
    table = report(results)
    with replacing(out / "table.md") as temporary:
        temporary.write_text(table)
    print(table)


if __name__ == "__main__":
    command_line.run(main)
