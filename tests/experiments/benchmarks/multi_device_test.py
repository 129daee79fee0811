"""The benchmark of one scene on several devices, at a size that simulated devices render at once."""

import json
import os

import pytest

from tests import programs

pytestmark = pytest.mark.slow

FLAGS = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"


def bench(*flags):
    return programs.run_process(
        "experiments.benchmarks.multi_device", "--size=64x40", "--repeats=1", *flags, XLA_FLAGS=FLAGS
    )


def test_one_and_four_devices_render_the_same_and_report_what_they_send():
    done = bench("--devices=1,4", "--gaussians=501")
    assert done.returncode == 0, done.stderr[-3000:]
    one, four = (json.loads(line) for line in done.stdout.splitlines())
    assert (one["devices"], four["devices"]) == (1, 4)
    assert one["bytes_sent"] == {"splats": 0, "image": 0, "gradient": 0}
    capacity = min(four["send_capacity"], 126)  # 501 / 4 Gaussians a device
    assert four["sent"] <= capacity
    # 12 numbers a splat; of 5 rows of tiles two a device, 64 x 8 pixels of 5 numbers each
    splats = 3 * capacity * 48
    assert four["bytes_sent"] == {"splats": splats, "image": 3 * 2 * 8 * 64 * 20, "gradient": splats}
    assert 0 < four["intersections"] < one["intersections"] <= one["capacity"]
    assert four["difference"]["image"] < 1e-5 and four["difference"]["gradient"] < 1e-4
    for line in (one, four):
        assert min(line["forward_ms"], line["forward_backward_ms"], *line["memory_MB"].values()) > 0


def test_too_many_devices_are_one_sentence():
    done = bench("--devices=8")
    assert (
        done.returncode
        and "invalid --devices=8: expected numbers of devices from 1 to 4." in done.stderr
        and "Traceback" not in done.stderr
    )
