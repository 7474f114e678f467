"""
The start, the health and the exit of a container.
"""

import os
import select
import signal
import time
from collections.abc import Callable

from tests.support.container import Container
from tests.support.engine import IMAGE, inspected, run_engine
from tests.support.waiting import eventually

Contain = Callable[..., Container]


def test_it_exits_with_0_at_the_deadline(contain: Contain) -> None:
    """
    With TTL=5s the exit code is 0 after 5 s, and the last line has the reason.
    """
    container = contain(TTL="5s")
    assert 503 == container.answers().status

    assert 0 == container.code()
    state = container.state
    assert state["ExitCode"] == 0
    assert not state["OOMKilled"]
    (ended,) = container.log_lines("ended")
    assert ("deadline", 0) == (ended["reason"], ended["code"])


def test_a_stop_takes_less_than_half_a_second(
    contain: Contain, record_property: Callable[[str, object], None]
) -> None:
    """
    The image's stop signal ends an idle container with 0 within half a second; the pattern being
    replaced is killed after ten seconds with 137.
    """
    container = contain()
    container.answers()
    pid, signal_ = container.pid, inspected(IMAGE)["Config"]["StopSignal"]
    ended = os.pidfd_open(pid)
    began = time.monotonic()
    os.kill(pid, signal.Signals[signal_])
    assert select.select([ended], [], [], 5)[0]
    took = time.monotonic() - began
    os.close(ended)

    record_property("stop", f"{took * 1e3:.0f} ms from the signal to the end of PID 1")
    assert 0 == container.code()
    assert took < 0.5


def test_the_engine_s_stop_ends_it_in_time(contain: Contain) -> None:
    """
    The engine's stop command ends it with 0 before its timeout of ten seconds.
    """
    container = contain()
    container.answers()
    began = time.monotonic()
    run_engine("stop", container.name)

    assert time.monotonic() - began < 8
    assert 0 == container.state["ExitCode"]


def test_it_stops_by_term_and_uses_no_shell() -> None:
    """
    STOPSIGNAL is TERM, and entry point and health check are in exec form.
    """
    config = inspected(IMAGE)["Config"]

    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["autoexit-nginx"]
    assert not config.get("Cmd")
    assert config["User"] == "101:101"
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_it_becomes_healthy(contain: Contain) -> None:
    """
    The health check queries the supervisor: healthy after the first one, even without endpoints.
    """
    container = contain(options=("--health-interval", "1s"))

    eventually(lambda: container.state["Health"]["Status"] == "healthy", 15)
    assert 0 == container.state["Health"]["FailingStreak"]


def test_a_restarted_container_keeps_its_deadline(contain: Contain) -> None:
    """
    The deadline counts from a container's first start, recorded on its file system; a restart after
    it exits with 0 at once.
    """
    container = contain(TTL="4s")
    container.answers()
    run_engine("restart", container.name)

    assert 0 == container.code()
    first, second = container.log_lines("deadline.set")
    assert first["deadline"] == second["deadline"]
    assert second["remaining"] < 4
    run_engine("start", container.name)
    assert 0 == container.code()
    assert "deadline passed before this start" == container.log_lines("ended")[-1]["reason"]
