"""The entry points that train generators, with networks that a test can afford: `train_processes_test` starts them.

The first argument is which, the others are its flags.
"""

import dataclasses
import importlib
import sys

import jax

PROGRAMS = {"difix": "experiments.fixers.train_difix", "eigent": "experiments.fixers.train_eigent"}


def small_difix():
    from tests.ff_jax.fixers.difix import torch_difix

    return dataclasses.replace(torch_difix.CONFIG, aligned=True)


def small_eigent():
    from tests.ff_jax.fixers.eigent.small import CONFIG

    return CONFIG


if __name__ == "__main__":
    name = sys.argv.pop(1)
    jax.config.update("jax_disable_most_optimizations", True)  # these steps take much longer to compile than to run
    size = {"difix": small_difix, "eigent": small_eigent}[name]()  # flax first: see `torch_difix`
    program = importlib.import_module(PROGRAMS[name])
    (program if name == "difix" else program.use).tiny = lambda: size
    program.command_line.run(program.main)
