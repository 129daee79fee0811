"""End entry points by signals: a training saves its next step first, everything else ends at once.

Schedulers send SIGTERM (submitit: SIGUSR2) some time before they kill; a terminal sends SIGINT for Ctrl-C.
"""

import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from ff_jax.runtime.stop import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


PARENT = "FF_PARENT"  # variable with the process that a program ends with
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


class SignalError(KeyboardInterrupt):
    """A signal ends the program; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class StopHandler:
    """The handler of signals: makes a stop request if a training loop checks it, and raises SignalError otherwise."""

    def __init__(self, request: StopRequest):
        """Keep the request; `install` sets the handler."""
        self._request = request
        self.number = int(signal.SIGTERM)  # of the signal that came last

    def install(self) -> None:
        """Let the signals call this handler; call it in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self.handle)

    def handle(self, number: int, _: FrameType | None = None) -> None:
        """Obey a signal; a second Ctrl-C does not wait for the training.

        Raises:
            SignalError: nothing has to be saved, or the user does not wait for it.
        """
        is_repeated = self._request.is_made and number == self.number == signal.SIGINT
        self.number = number
        if is_repeated or not self._request.is_checked:
            raise SignalError(number)
        self._request.is_made = True
        name = signal.Signals(number).name
        print(f"{name}: the next step will be saved; a second Ctrl-C ends at once.", file=sys.stderr, flush=True)


def leave(number: int, message: str) -> NoReturn:
    """Print a message and end this process as a signal does in a shell: with code 128 + `number`.

    The interpreter is not shut down: that would free the compiler while threads of it are at work, which is a
    segmentation fault.
    """
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    logging.shutdown()
    os._exit(128 + number)


def end_with_parent() -> None:
    """Let a program that a sweep has started be sent SIGTERM when the sweep is killed (Linux).

    It would hold the lock of its folder otherwise, and the resumed sweep could not continue it.
    """
    parent = os.environ.get(PARENT, "")
    if not parent.isdecimal() or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):  # it has ended already
        os.kill(os.getpid(), signal.SIGTERM)
