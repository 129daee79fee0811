"""Running the points of a sweep through submitit: on Slurm, or here in the way that Slurm would."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.sweeps.launch import Job, attempt, note_failure


def run_on_cluster(
    jobs: Sequence[Job], workers: int, folder: Path, cluster: str, options: dict[str, Any]
) -> Iterator[int]:
    """Run jobs through submitit and yield the number of each as it ends.

    Args:
        jobs: the points.
        workers: how many run at a time (on Slurm, of the array).
        folder: for submitit's logs; all machines must see it.
        cluster: "slurm", "local" (processes here) or "debug" (in this process).
        options: of `submitit.AutoExecutor.update_parameters`.

    Raises:
        ValueError: submitit is not installed, or does not know the cluster or an option.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(f"--cluster={cluster} needs the package submitit: pip install submitit.") from None
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        executor.update_parameters(**({"slurm_array_parallelism": workers} | options))
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"--cluster={cluster} does not work: {error}") from error
    submitted = executor.map_array(attempt, jobs, [{}] * len(jobs))
    waiting = dict(enumerate(submitted))
    while waiting:
        for number, job in [(n, j) for n, j in waiting.items() if j.done()]:
            if error := job.exception():
                note_failure(jobs[number], str(error).strip().splitlines()[-1])
            del waiting[number]
            yield number
        time.sleep(0.5)
