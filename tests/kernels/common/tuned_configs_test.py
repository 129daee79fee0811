"""Block sizes as data: the files fit the kernels, the nearest entry is selected, the search finds the least time."""

import json

import pytest

from kernels.common.tuned_configs import FOLDER, device_file, nearest_config, tuned_config
from kernels.fisher.config import FisherConfig
from kernels.rasterize.config import RasterConfig, choose_config
from kernels.tools.tune import CANDIDATES, best_config

FILES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_that_ship_are_those_of_a_device_and_fit_the_kernels(path):
    content = json.loads(path.read_text())
    assert device_file(content["device"]) == path
    for op, config in (("rasterize", RasterConfig), ("fisher", FisherConfig)):
        assert content[op], "at least one scene"
        for entry in content[op]:
            config(**nearest_config(content[op], entry["capacity"], entry["tiles"]))
            assert nearest_config(content[op], entry["capacity"], entry["tiles"]) == entry["config"]


def test_the_most_alike_entry_is_taken():
    entries = [{"capacity": c, "tiles": 100, "config": {"segment": s}} for c, s in ((1000, 64), (100_000, 512))]
    assert nearest_config(entries, 9_000, 100) == {"segment": 64}
    assert nearest_config(entries, 11_000, 100) == {"segment": 512}
    assert nearest_config([], 1, 1) == {}


def test_without_a_gpu_the_rule_of_thumb_holds():
    assert tuned_config("rasterize", 1000, 10) == {}
    assert choose_config(10_000_000, 8160) == RasterConfig()
    assert choose_config(10_000, 480).segment < 512


def test_the_sweep_ends_at_the_least_time_and_tries_nothing_twice():
    tried = []

    def time(config: RasterConfig) -> float:
        tried.append(config)
        return float(abs(config.segment - 256) + abs(config.chunk - 64) + config.warps + abs(config.reduce_block - 4))

    config, ms = best_config(time, RasterConfig(), CANDIDATES["rasterize"])
    assert config == RasterConfig(segment=256, chunk=64, warps=1, reduce_block=4) and ms == 1
    assert len(set(tried)) == len(tried)
