"""Run the jobs of a sweep through submitit: on Slurm, or on this machine in the same way."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.sweeps.launch import Job, Processes, run_job, write_failure


class ClusterJob:
    """A job as submitit calls it; one that is preempted goes on by itself when the cluster starts it again."""

    def __call__(self, job: Job) -> None:
        """Run the job; finished parts of it are not repeated."""
        self._processes = Processes()  # not pickled with the job
        run_job(job, {}, self._processes)

    def checkpoint(self, job: Job) -> Any:
        """Let the processes save their state, and return what the cluster is to start again.

        submitit calls it in a signal handler, some time before the cluster kills the job.
        """
        from submitit.helpers import DelayedSubmission

        self._processes.stop()
        self._processes.wait()
        return DelayedSubmission(ClusterJob(), job)


def run_on_cluster(
    jobs: Sequence[Job], num_workers: int, folder: Path, cluster: str, options: dict[str, Any]
) -> Iterator[int]:
    """Run jobs through submitit and yield the index of each when it ends.

    Args:
        jobs: what to run.
        num_workers: number of jobs that run at the same time (on Slurm, of the array).
        folder: folder of submitit's logs; all machines must have access to it.
        cluster: "slurm", "local" (processes on this machine) or "debug" (this process).
        options: arguments of `submitit.AutoExecutor.update_parameters`.

    Raises:
        ValueError: submitit is not installed, or refuses the cluster or an option.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(f"--cluster={cluster} needs the package submitit: pip install submitit.") from None
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        executor.update_parameters(**({"slurm_array_parallelism": num_workers} | options))
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"--cluster={cluster} does not work: {error}") from error
    waiting = dict(enumerate(executor.map_array(ClusterJob(), jobs)))
    while waiting:
        for index, submission in [(i, s) for i, s in waiting.items() if s.done()]:
            if error := submission.exception():
                write_failure(jobs[index], str(error).strip().splitlines()[-1])
            del waiting[index]
            yield index
        time.sleep(0.5)
