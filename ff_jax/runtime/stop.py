"""End a training at its next step: a signal makes a request, and the training loop checks it after every step."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoppedError(Exception):
    """A training ended early because it was asked to; its last step is saved."""

    def __init__(self, folder: Path, step: int):
        super().__init__(f"stopped at step {step}, saved as {folder / str(step)}")


@dataclasses.dataclass(eq=False)
class StopRequest:
    """A request to end a training.

    Attributes:
        is_made: whether the training is to end at its next step.
        is_checked: whether a training loop is running that checks the request; without one, nothing must be saved.
    """

    is_made: bool = False
    is_checked: bool = False

    def check(self) -> bool:
        """Return whether the training is to end now; loops call it after each of their steps."""
        self.is_checked = True
        return self.is_made

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Enclose a training loop: after it, the request is not checked any more."""
        try:
            yield
        finally:
            self.is_checked = False
