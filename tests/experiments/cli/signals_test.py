"""Signals: a training ends at its next step, everything else ends at once."""

import os
import signal
import subprocess
import sys

import pytest

from experiments.cli.signals import SIGNALS, SignalError, StopHandler
from ff_jax.runtime.stop import StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_without_a_training_signals_end_the_program(number):
    request = StopRequest()
    with pytest.raises(SignalError) as error:
        StopHandler(request).handle(number)
    assert error.value.number == number and not request.is_made


def test_a_training_is_asked_and_a_second_interrupt_does_not_wait():
    request = StopRequest()
    handler = StopHandler(request)
    with request.loop():
        assert not request.check()
        handler.handle(signal.SIGINT)
        assert request.check() and handler.number == signal.SIGINT
        handler.handle(signal.SIGTERM)  # a sweep passes Ctrl-C on, which its runs have got from the terminal as well
        handler.handle(signal.SIGTERM)  # schedulers repeat it
        handler.handle(signal.SIGINT)
        with pytest.raises(SignalError):
            handler.handle(signal.SIGINT)
    assert not request.is_checked


PROGRAM = """
import os, signal, sys
from experiments.cli import command_line
command_line.run(lambda _: os.kill(os.getpid(), int(os.environ["NUMBER"])))
"""


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_signal():
    environment = os.environ | {"NUMBER": str(int(signal.SIGTERM)), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "SIGTERM" in done.stderr and "--resume" not in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_during_the_imports_prints_no_source_code():
    # A process that is started in the background inherits an ignored SIGINT: this one gets Python's handler.
    command = [sys.executable, "-c", "import os, runpy, signal, sys; sys.orig_argv = ['p', '-m', 'experiments.fuse'];"
               "signal.signal(signal.SIGINT, signal.default_int_handler);"
               "import experiments; os.kill(os.getpid(), signal.SIGINT)"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and not done.stderr
