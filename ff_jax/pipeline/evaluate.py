"""Scores of a run at lateral shifts."""

import dataclasses
from collections.abc import Sequence

from ff_jax.evaluation.shifted_views import ShiftScore, targets
from ff_jax.pipeline.results import score_version, text_table
from ff_jax.pipeline.run import Run


@dataclasses.dataclass(frozen=True)
class Scores:
    """Mean scores per lateral shift; `print` shows them as a table."""

    name: str
    rows: list[ShiftScore]

    def __str__(self) -> str:
        """Format the scores as a table: PSNR in dB, EIG in nats."""
        return text_table({self.name: self.rows})


def evaluate(run: Run, shifts: Sequence[float | int] = (), *, frames: int = 8, name: str = "scene") -> Scores:
    """Score a run on its test frames and at lateral shifts.

    Args:
        run: the trained scene.
        shifts: meters, left positive, besides those of the test frames; there is a score where the log has a true
            image, and the mean EIG everywhere.
        frames: at most this many views per shift.
        name: title of the table.
    """
    chosen = targets(run.log, tuple(map(float, shifts)), frames)
    return Scores(name, score_version(name, run, chosen, [target.view for target in chosen]).shifts)
