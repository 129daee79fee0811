"""Programs that threads compile: a call finds them, waits for them, and never compiles them again."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.runtime import progress
from ff_jax.runtime.compile_ahead import CompileAhead, shapes_of
from ff_jax.runtime.compile_log import CompileLog, by_program


@pytest.fixture(scope="module")
def programs():
    return CompileLog().install()


def make(name):
    """Make a program with a donated and a static argument."""

    def function(state, scale, *, power):
        return {"x": state["x"] ** power * scale, "n": state["n"] + 1}

    function.__name__ = name
    return jax.jit(function, donate_argnums=0, static_argnames="power")


def state():
    return {"x": jnp.arange(4.0), "n": jnp.int32(0)}


def compilations(programs, name):
    return [one for one in programs.compilations if one.program == name]


def test_a_call_takes_the_program_that_was_compiled_ahead(programs):
    function, ahead, scale = make("compiled_ahead"), CompileAhead(), 0.5  # a number of Python, weakly typed
    before, donated = shapes_of(state()), state()
    ahead.start(function, before, scale, power=2)
    ahead.start(function, before, scale, power=2)
    ahead.wait(function)
    (one,) = compilations(programs, "compiled_ahead")
    assert one.is_ahead and one.seconds > 0
    result = function(donated, scale, power=2)
    assert donated["x"].is_deleted() and int(result["n"]) == 1
    np.testing.assert_array_equal(result["x"], 0.5 * np.arange(4.0) ** 2)
    assert len(compilations(programs, "compiled_ahead")) == 1


def test_a_program_that_was_not_begun_is_not_waited_for(programs):
    function, ahead = make("not_begun"), CompileAhead()
    ahead.wait(function)
    function(state(), 1.0, power=3)
    (one,) = compilations(programs, "not_begun")
    assert not one.is_ahead


def test_an_error_of_the_compiler_is_raised_by_the_call():
    def broken(x):
        raise ArithmeticError("traced")

    function, ahead = jax.jit(broken), CompileAhead()
    ahead.start(function, 1.0)
    ahead.wait(function)
    with pytest.raises(ArithmeticError, match="traced"):
        function(1.0)


class Slow:
    """Takes the place of a jitted function whose compilation takes long."""

    __name__ = "slow_step"

    def __init__(self):
        self.may_end, self.is_compiled = threading.Event(), False

    def lower(self):
        return self

    def compile(self):
        self.may_end.wait(20)
        self.is_compiled = True


def test_waiting_is_announced_and_counted_as_compilation(monkeypatch):
    clock = progress.CompileClock()
    monkeypatch.setattr(progress, "_compile_clock", lambda: clock)
    slow, ahead = Slow(), CompileAhead()
    ahead.start(slow)
    assert clock.program == "" and not slow.is_compiled
    threading.Timer(0.2, slow.may_end.set).start()
    begin = time.monotonic()
    ahead.wait(slow)
    assert slow.is_compiled and clock.program == ""
    assert 0.1 < clock.seconds <= time.monotonic() - begin


def test_the_clock_of_bars_leaves_out_what_nothing_waits_for():
    clock = progress.CompileClock()

    def compile_in_a_thread():
        clock.listen("/jax/core/compile/jaxpr_to_mlir_module_duration", 0.1, fun_name="jit(step)")
        clock.listen("/jax/core/compile/backend_compile_duration", 30.0)

    for name, seconds in ((f"{progress.BACKGROUND} step", 0.0), ("another", 30.0)):
        thread = threading.Thread(target=compile_in_a_thread, name=name)
        thread.start()
        thread.join()
        assert clock.seconds == seconds


def test_the_log_sums_up_programs_of_one_name():
    log = CompileLog()
    for seconds, is_cached in ((1.0, False), (2.0, True), (0.5, False)):
        if is_cached:
            log.note("/jax/compilation_cache/cache_hits")
        log.listen("/jax/core/compile/backend_compile_duration", seconds, fun_name="jit(a)")
    log.listen("/jax/core/compile/jaxpr_trace_duration", 9.0, fun_name="jit(a)")
    log.listen("/jax/core/compile/backend_compile_duration", 5.0, fun_name="jit(b)")
    rows = by_program(log.compilations)
    assert [tuple(row) for row in rows] == [("b", 1, 0, 0, 5.0, 5.0), ("a", 3, 1, 0, 3.5, 2.0)]
