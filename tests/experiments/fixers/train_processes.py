"""The entry points that train fixers, with small networks: `train_processes_test` starts them.

The first argument selects one, the others are its flags.
"""

import dataclasses
import importlib
import sys

import jax

PROGRAMS = {
    "difix": "experiments.fixers.train_difix",
    "eigent": "experiments.fixers.train_eigent",
    "reference_unet": "experiments.fixers.train_reference_unet",
}


def small_difix():
    from tests.ff_jax.fixers.difix import torch_difix

    return dataclasses.replace(torch_difix.CONFIG, use_aligned_references=True)


def small_eigent():
    from tests.ff_jax.fixers.eigent.small import CONFIG

    return CONFIG


def small_reference_unet():
    from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig

    return ReferenceUnetConfig(widths=(4, 4), num_references=2)


if __name__ == "__main__":
    name = sys.argv.pop(1)
    jax.config.update("jax_disable_most_optimizations", True)  # these steps take much longer to compile than to run
    config = {"difix": small_difix, "eigent": small_eigent, "reference_unet": small_reference_unet}[name]()
    program = importlib.import_module(PROGRAMS[name])
    program.tiny = lambda: config
    program.command_line.run(program.main)
