"""The entry points that train fixers, with small networks: `train_processes_test` starts them.

The first argument selects one of train_difix, train_eigent and train_reference_unet, the others are its flags.
"""

from experiments.studies.measures.robustness.small_trainings import main

if __name__ == "__main__":
    main()
