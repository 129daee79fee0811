"""Small runs of documented commands for `commands_test`, where the other commands are tested, and which are not."""

# All streets have 32 x 20 pixels, so that their renderer compiles once. No LiDAR: casting its rays is slow.
_STREET = ("--seeds=0", "--width=32")
_UNTRAINED = ("--steps=0",)  # a training step takes long to compile; `fuse_test` compiles the same one
_SMALL = ("--config.data.use_lidar=False", "--config.recon.budget=300", "--config.init.points=200")
_NO_NETWORKS = ("--lpips=none", "--inception=none", "--detector=none", "--lanes=none")

# Flags by entry point; {out} is an empty folder, {log} holds a log of 3 time steps and 2 cameras.
RUNS = {
    "experiments.studies.poses": ("--workdir={out}", *_STREET, *_SMALL, "--steps=1", "--frames=4", "--off=0.2:2"),
    "experiments.studies.exposure": ("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED, "--frames=5"),
    "experiments.studies.actors": ("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED, "--frames=7"),
    "experiments.studies.next_view": (
        *("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED),
        *("--moments=4", "--views=3", "--rounds=1", "--num_random=1"),
    ),
    "experiments.studies.eig_calibration": (
        *("--workdir={out}", *_STREET, *_SMALL, "--steps=1"),
        *("--recorded=2", "--frames=1", "--shifts=1"),
    ),
    "experiments.reconstruct": (
        # Settings and log of `commands_test.test_pairs_of_a_log_are_made_and_judged`: the same programs.
        *("--config=experiments/configs/kitti_stereo.py", "--workdir={out}/run", *_SMALL),
        *("--config.data.source={log}", "--config.data.width=0"),
        *("--config.steps=2", "--config.schedule.start=1", "--config.evaluate.shifts=(0.0,)"),
        *("--config.evaluate.frames=2", "--config.evaluate.video_frames=2"),
    ),
    "experiments.studies.fusing": (
        *("--workdir={out}", *_SMALL, "--config.fixer=none", "--config.data.width=32", "--config.data.height=20"),
        *("--config.data.frames=3", "--config.steps=4", "--config.schedule.start=1", "--config.schedule.every=2"),
        *("--config.evaluate.frames=2", "--config.evaluate.shifts=(1.0,)", "--lpips=none", "--oracle"),
    ),
    "experiments.benchmarks.metrics": (
        *("--workdir={out}", "--frames=9", "--distinct=1", "--width=32", "--height=20"),
        *_NO_NETWORKS,
    ),
    "experiments.benchmarks.time_to_quality": (  # the settings of `experiments.studies.fusing`: the same programs
        *("--workdir={out}", *_SMALL, "--config.data.width=32", "--config.data.height=20", "--config.data.frames=3"),
        *("--config.steps=4", "--points=1", "--views=1"),
    ),
    "experiments.benchmarks.rendering": ("--scenes=300_64x48", "--calls=1", "--out={out}/figures.json"),
    "experiments.tools.contact_sheet": (
        *("--seeds=3", "--width=32", "--height=20", "--samples=1"),
        "--output={out}/new/sheet.png",
    ),
    "experiments.benchmarks.baselines.torch_cpu": ("--scene=300_64x48", "--repeats=1"),
    "kernels.tools.bench": ("300_64x48", "--calls=1"),
}

# Entry points that another test file runs.
TESTED_IN = {
    "experiments.benchmarks.difix": "tests/experiments/benchmarks/fixers_test.py",
    "experiments.benchmarks.eig": "tests/experiments/benchmarks/eig_test.py",
    "experiments.benchmarks.eigent": "tests/experiments/benchmarks/fixers_test.py",
    "experiments.benchmarks.multi_device": "tests/experiments/benchmarks/multi_device_test.py",
    "experiments.benchmarks.serving": "tests/experiments/serve_test.py",
    "experiments.benchmarks.scene_formats": "tests/experiments/fuse_test.py",
    "experiments.convert": "tests/experiments/convert_test.py",
    "experiments.edit": "tests/experiments/fuse_test.py",
    "experiments.evaluate": "tests/experiments/evaluate_test.py",
    "experiments.fixers.make_pairs": "tests/experiments/commands_test.py",
    "experiments.fixers.train_difix": "tests/experiments/fixers/train_processes.py",
    "experiments.fixers.train_eigent": "tests/experiments/fixers/train_processes.py",
    "experiments.fixers.train_reference_unet": "tests/experiments/fixers/train_processes.py",
    "experiments.fuse": "tests/experiments/fuse_test.py",
    "experiments.prepare": "tests/experiments/prepare_test.py",
    "experiments.render": "tests/experiments/fuse_test.py",
    "experiments.serve": "tests/experiments/serve_test.py",
    "experiments.studies.driving": "tests/experiments/studies/driving_test.py",
    "experiments.studies.fixers": "tests/experiments/commands_test.py",
    "experiments.studies.metrics": "tests/experiments/evaluate_test.py",
    "experiments.studies.robustness": "tests/experiments/fuse_test.py",
    "experiments.studies.seeds": "tests/experiments/fuse_test.py",
    "experiments.sweeps.run": "tests/experiments/sweeps/run_test.py",
    "experiments.tools.build_tfds": "tests/experiments/tools/build_tfds_test.py",
    "experiments.tools.pages": "tests/experiments/tools/pages_test.py",
    "experiments.tools.structure": "tests/experiments/tools/structure_test.py",
    "experiments.view": "tests/experiments/view_test.py",
}

# The beginning of a command: why no test runs it.
NOT_RUN = {
    "experiments.benchmarks.baselines.gsplat_mcmc": "gsplat needs CUDA; its error message is tested",
    "kernels.tools.tune": "it times kernels of an NVIDIA GPU; its error message is tested",
    "gcloud": "it rents machines in a cloud",
    "python3 -m venv": "it installs the packages that the tests run with",
    ".venv/bin/pip install": "it installs the packages that the tests run with",
    ".venv/bin/python -m pip install": "it installs the packages that the tests run with",
    ".venv/bin/python -m pytest": "it runs these tests",
    '.venv/bin/python -c "import jax; print(jax.devices())"': "it lists the chips of a TPU VM",
}
