"""The capacity of the tile lists: its plan, its growth, and that it changes nothing but memory and time."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.compile_ahead import CompileAhead
from ff_jax.runtime.compile_log import CompileLog
from ff_jax.train import capacity as capacities
from ff_jax.train.batches import TrainBatches, view_of
from ff_jax.train.capacity import count_intersections, next_capacity, planned_capacity, resize_capacity
from ff_jax.train.config import ReconConfig
from ff_jax.train.loop import Hooks, check_capacity, train
from tests.ff_jax.train.divergence_test import CONFIG as TINY

# No other test has this budget: its programs are compiled here.
CONFIG = dataclasses.replace(TINY, steps=12, check_every=4, save_every=4, recon=ReconConfig(sh_degree=0, budget=44))
SMALLEST = 1 << 15


@pytest.mark.parametrize("count", [0, 100, 30_000, 250_000, 3_000_000, 40_000_000])
def test_the_plan_has_head_room_for_growth(count):
    at_once = planned_capacity(count, 1000, 1000)
    growing, growing_much = planned_capacity(count, 1000, 1500), planned_capacity(count, 1000, 100_000)
    assert int(1.4 * count) <= at_once <= max(2.1 * count, SMALLEST)
    assert at_once <= growing <= growing_much <= max(4.2 * count, SMALLEST)
    bound = 1 << 23
    assert growing >= int(min(1.5 * 1.4 * count, bound)) and growing_much <= max(bound, at_once)


@pytest.mark.parametrize("capacity", [1 << 15, 3 << 14, 1 << 20, 3 << 19])
def test_the_next_capacity_depends_on_the_present_one_alone(capacity):
    following = next_capacity(capacity)
    assert int(1.4 * capacity) <= following <= 2 * capacity
    settings = RenderSettings(capacity=capacity)
    for share in (0.951, 1.0, 1.3):
        assert resize_capacity(settings, int(share * capacity)).capacity == following
    assert resize_capacity(settings, int(0.94 * capacity)).capacity == capacity
    assert resize_capacity(settings, 10 * capacity).capacity >= 14 * capacity


def test_an_idle_capacity_shrinks_only_when_it_may():
    settings = RenderSettings(capacity=1 << 20)
    assert resize_capacity(settings, 1 << 17).capacity == 1 << 20
    assert resize_capacity(settings, 1 << 17, shrink=True).capacity == 3 << 16


@pytest.fixture(scope="module")
def batches():
    log = street_log(1, StreetConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=None)
    return TrainBatches(make_recording(log, CONFIG))


def start(batches):
    return initialize(batches.recording, CONFIG, pseudo_views=1, steps=CONFIG.steps)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.train.scene, state.train.opt))]


class WithoutThreads(CompileAhead):
    """Compiles nothing ahead: the loop meets every program at its first call."""

    def start(self, *_, **__):
        pass


@pytest.mark.slow
def test_results_do_not_depend_on_capacities_nor_on_when_they_are_compiled(batches, monkeypatch):
    monkeypatch.setattr(capacities, "_SMALLEST", 16)
    programs, counts, sizes = CompileLog().install(), [], []

    def log(_, metrics, plan):
        counts.append(int(metrics["num_intersections"]))
        sizes.append(plan.settings.capacity)

    state, plan = start(batches)
    views = [view_of(frame, 0) for frame in batches.recording.padded_frames]
    first = count_intersections(state.train.scene, views, plan.settings)
    # Nearly full, so that it grows at the first check and nothing is dropped.
    tight = plan.with_capacity(int(first / 0.96))
    roomy = plan.with_capacity(next_capacity(tight.settings.capacity))

    grown, grown_plan = train(start(batches)[0], 12, tight, batches, Hooks(log=log))
    assert first <= max(counts) <= tight.settings.capacity < grown_plan.settings.capacity
    assert sizes == [roomy.settings.capacity] * 3
    ahead = [one.program for one in programs.compilations if one.is_ahead]
    assert ahead.count("view_gradient") == 2 and ahead.count("update_state") == 1
    waited_for = {one.program for one in programs.compilations if not one.is_ahead}
    assert waited_for.isdisjoint({"view_gradient", "update_state", "is_finite"})

    enough, _ = train(start(batches)[0], 12, roomy, batches)
    parted, parted_plan = train(start(batches)[0], 4, tight, batches)
    parted, _ = train(parted, 12, parted_plan, batches)  # continues behind the growth
    monkeypatch.setattr("ff_jax.train.loop.CompileAhead", WithoutThreads)
    late, _ = train(start(batches)[0], 12, tight, batches)
    for other in (enough, parted, late):
        jax.tree.map(np.testing.assert_array_equal, leaves(other), leaves(grown))


@pytest.mark.slow
def test_dropped_intersections_are_reported_and_the_lists_grow(batches, caplog):
    state, plan = start(batches)
    plan = plan.with_capacity(1 << 15)
    full = state.replace(train=state.train.replace(num_intersections=jnp.int32(100_000)))
    with caplog.at_level(logging.WARNING):
        after, larger = check_capacity(full, plan, 4)
    assert "100000 tile intersections exceed the capacity of 32768" in caplog.text
    assert larger.settings.capacity >= 100_000 / 0.95 and int(after.train.num_intersections) == 0
    caplog.clear()
    _, same = check_capacity(after, larger, 80)  # density control may still need it
    assert same == larger and not caplog.text
    settled = dataclasses.replace(
        larger,
        recon=dataclasses.replace(larger.recon, density=dataclasses.replace(larger.recon.density, start=0, stop=80)),
    )
    assert check_capacity(after, settled, 80)[1].settings.capacity == 1 << 15
    assert check_capacity(after, settled, 84)[1] == settled
