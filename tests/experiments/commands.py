"""Small runs of documented commands (`commands_test` makes them), and the commands that no test can run."""

# Every street of 32 x 20 pixels: what draws it is compiled once. No LiDAR: casting rays takes most of the time.
_STREET = ("--seeds=0", "--width=32")
_UNTRAINED = ("--steps=0",)  # a training step takes long to compile; runs of the main job have the same
_SMALL = ("--config.data.use_lidar=False", "--config.recon.budget=300", "--config.init.points=200")
_NO_NETWORKS = ("--lpips=none", "--inception=none", "--detector=none", "--lanes=none")

# Entry point: its flags; {out} is an empty folder, {log} one that holds a log of 3 time steps and 2 cameras.
RUNS = {
    "experiments.studies.poses": ("--workdir={out}", *_STREET, *_SMALL, "--steps=1", "--frames=4", "--off=0.2:2"),
    "experiments.studies.exposure": ("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED, "--frames=5"),
    "experiments.studies.actors": ("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED, "--frames=7"),
    "experiments.studies.next_view": (
        *("--workdir={out}", *_STREET, *_SMALL, *_UNTRAINED),
        *("--moments=4", "--views=3", "--rounds=1", "--draws=1"),
    ),
    "experiments.studies.eig_calibration": (
        *("--workdir={out}", *_STREET, *_SMALL, "--steps=1"),
        *("--recorded=2", "--frames=1", "--shifts=1"),
    ),
    "experiments.reconstruct": (
        # Settings and log are those of `commands_test`'s pairs: the same programs.
        *("--config=experiments/configs/kitti_stereo.py", "--workdir={out}/run", *_SMALL),
        *("--config.data.source={log}", "--config.data.width=0"),
        *("--config.steps=2", "--config.schedule.start=1", "--config.evaluate.shifts=(0.0,)"),
        *("--config.evaluate.frames=2", "--config.evaluate.video_frames=2"),
    ),
    "experiments.benchmarks.metrics": (
        *("--workdir={out}", "--frames=9", "--kept=1", "--width=32", "--height=20"),
        *_NO_NETWORKS,
    ),
    "experiments.benchmarks.rendering": ("--scenes=300_64x48", "--calls=1", "--out={out}/figures.json"),
    "experiments.tools.contact_sheet": (
        *("--seeds=3", "--width=32", "--height=20", "--samples=1"),
        "--output={out}/new/sheet.png",
    ),
    "experiments.benchmarks.baselines.torch_cpu": ("--scene=300_64x48", "--repeats=1"),
    "kernels.tools.bench": ("300_64x48", "--calls=1"),
}

# The beginning of a command: why no test runs it.
NOT_RUN = {
    "experiments.benchmarks.baselines.gsplat_mcmc": "gsplat needs CUDA; that it says so is tested",
    "kernels.tools.tune": "it times kernels of an NVIDIA GPU; that it says so is tested",
    "gcloud": "it rents machines in a cloud",
    "python3 -m venv": "it installs the packages that the tests run with",
    ".venv/bin/pip install": "it installs the packages that the tests run with",
    ".venv/bin/python -m pip install": "it installs the packages that the tests run with",
    ".venv/bin/python -m pytest": "it runs these tests",
    '.venv/bin/python -c "import jax; print(jax.devices())"': "it lists the chips of a TPU VM",
}
