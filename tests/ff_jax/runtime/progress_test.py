"""Progress on the terminal, and what is compiled while nothing moves."""

import re
import time

import jax
import pytest

from ff_jax.runtime import progress


def test_progress_writes_few_readable_lines_without_a_terminal(capsys):
    assert list(progress.progress(6, "fitting", start=2)) == [2, 3, 4, 5]
    output = capsys.readouterr().err
    assert re.fullmatch(r"fitting: 6/6 in 00:00, 00:00 left, .*it/s\n", output)
    assert list(progress.progress(iter("abc"), "reading", every=0.0)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("reading: ") for line in lines)


def test_progress_is_one_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.progress([1, 2], "fitting")
    assert list(bar) == [1, 2] and bar.total == 2 and not isinstance(bar, progress._LineProgress)
    assert "100%" in capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch):
    """Return a clock on which a compilation is noticed at once, and looked for often."""
    clock = progress.CompileClock()
    monkeypatch.setattr(progress, "_compile_clock", lambda: clock)
    monkeypatch.setattr(progress, "_SHORTEST", 0.0)
    monkeypatch.setattr(progress, "_BEAT", 0.01)
    return clock


def wait_for(text, capsys, seconds=20.0):
    output, end = "", time.monotonic() + seconds
    while text not in output and time.monotonic() < end:
        time.sleep(0.01)
        output += capsys.readouterr().err
    return output


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_compilation_is_announced_while_no_step_ends(clock, is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: is_terminal, raising=False)
    bar = progress.progress(5, "fitting")
    clock.listen("/jax/core/compile/jaxpr_to_mlir_module_duration", 0.1, fun_name="jit(train_step)")
    assert "compiling train_step" in wait_for("compiling train_step", capsys)
    clock.listen("/jax/core/compile/backend_compile_duration", 30.0)
    assert clock.notice() == ""
    bar.close()


def test_lines_go_on_while_no_step_ends(clock, capsys):
    bar = progress.progress(5, "fitting", every=0.02)
    assert wait_for("fitting: 0/5", capsys).count("? left") >= 1
    bar.close()


def test_the_clock_sees_the_programs_of_jax(monkeypatch):
    clock, events = progress.CompileClock(), []
    monkeypatch.setattr(progress, "_SHORTEST", 0.0)

    def listen(event, seconds, **facts):
        clock.listen(event, seconds, **facts)
        events.append(clock.program)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x + 1.5).lower(2.0).compile()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert any(events) and events[-1] == "" and clock.seconds > 0


def test_the_rate_leaves_out_the_first_step_and_compilation(clock, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.progress(1000, "fitting")
    now[0] += 60.0  # the first step compiles for a minute
    bar.update()
    assert bar.format_dict["rate"] == 0
    for _ in range(10):
        now[0] += 0.5
        bar.update()
    assert bar.format_dict["rate"] == pytest.approx(2.0)
    now[0] += 40.5  # another program
    clock.listen("/jax/core/compile/backend_compile_duration", 40.0)
    bar.update()
    assert bar.format_dict["rate"] == pytest.approx(2.0)
    bar.close()
