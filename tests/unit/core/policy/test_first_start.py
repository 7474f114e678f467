"""
The first start, up to the first answer of nginx.
"""

import signal

import pytest

from supervisor.core.commands import Command, SpawnCheck, SpawnMaster, Stage, Swap
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.durations import format_instant
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    DiscoveryFailed,
    SignalArrived,
    SnapshotArrived,
    SpawnFailed,
    StageFailed,
    StateSaved,
    SwapFailed,
)
from supervisor.core.model import ChildKind, Mode
from tests.support.policy_simulation import (
    SOURCE,
    WALL,
    FakeSystem,
    Simulation,
    endpoints,
    snapshot,
)


def test_the_first_answer_is_served_without_a_reload() -> None:
    """
    Endpoints found before nginx starts are in the first configuration: no SIGHUP follows.
    """
    sim = Simulation().serve(1, 2)

    assert endpoints(1, 2) == sim.served.endpoints
    assert [] == sim.signals(1)
    assert 1 == len(sim.commands(SpawnMaster))


def test_an_unresponsive_registry_delays_the_start_by_start_wait() -> None:
    """
    Nginx starts without endpoints after START_WAIT, and returns 503.
    """
    sim = Simulation({"START_WAIT": "250ms"}).run(1)

    assert [1000.25] == sim.times(Stage)
    assert Mode.STARTING is sim.served.mode


def test_two_services_are_awaited_together() -> None:
    """
    With several services the first start waits for all of them, START_WAIT at most.
    """
    sim = Simulation({"SERVICE_NAME": "web,api"})

    sim.send(snapshot(1))
    assert [] == sim.commands(Stage)

    sim.send(SnapshotArrived("nomad:api", endpoints(2)))
    sim.run(1)
    assert endpoints(1, 2) == sim.served.endpoints


def test_an_empty_registry_differs_from_an_unresponsive_one() -> None:
    """
    A first empty answer starts nginx with `starting`; a confirmed one sets `no_endpoints`.
    """
    sim = Simulation()
    sim.send(snapshot(confirmed=False))
    sim.run(1)
    assert Mode.STARTING is sim.served.mode

    sim.send(snapshot())
    sim.run(1)
    assert Mode.NO_ENDPOINTS is sim.served.mode


def test_a_configuration_that_nginx_refuses_ends_the_start() -> None:
    """
    If `nginx -t` refuses the first configuration, the exit code is 78.
    """
    sim = Simulation(system=FakeSystem(check_code=1, check_output="unknown directive")).serve(1)

    assert sim.exit
    assert (ExitCode.CONFIG, "unknown directive") == (sim.exit.code, sim.exit.fields["message"])


def test_a_refusal_without_output_still_has_a_reason() -> None:
    """
    Without output, the message is the exit code of `nginx -t`.
    """
    sim = Simulation(system=FakeSystem(check_code=3)).serve(1)

    assert sim.exit
    assert "nginx -t exited with code 3" == sim.exit.fields["message"]


@pytest.mark.parametrize(
    "command, failure", [(Stage, StageFailed(1, "disk full")), (Swap, SwapFailed(1, "disk full"))]
)
def test_files_that_cannot_be_written_end_the_start(
    command: type[Command], failure: StageFailed | SwapFailed
) -> None:
    """
    If files cannot be written at the start, the exit code is 78.
    """
    sim = Simulation(system=FakeSystem(ignored_commands=frozenset({command}))).serve(1)
    sim.send(failure)

    assert sim.exit
    assert (ExitCode.CONFIG, "disk full") == (sim.exit.code, sim.exit.fields["message"])


@pytest.mark.parametrize("kind", [ChildKind.MASTER, ChildKind.CHECK])
@pytest.mark.parametrize("code", [ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND])
def test_an_nginx_that_cannot_be_executed_ends_the_start(kind: ChildKind, code: ExitCode) -> None:
    """
    The exit code distinguishes a missing program from one that is not executable.
    """
    sim = Simulation(system=FakeSystem(ignored_commands=frozenset({SpawnMaster, SpawnCheck})))
    sim.serve(1)
    sim.send(SpawnFailed(kind, code, "cannot start nginx"))

    assert sim.exit
    assert (code, "cannot start nginx") == (sim.exit.code, sim.exit.fields["message"])


def test_an_nginx_that_never_answers_is_killed() -> None:
    """
    START_TIMEOUT limits the first start: the process group is killed and the code is 69.
    """
    sim = Simulation({"START_TIMEOUT": "3s"}, system=FakeSystem(nginx_responds=False)).serve(1)
    sim.run(5)

    assert sim.exit
    assert ExitCode.UNAVAILABLE == sim.exit.code
    assert "did not respond within 3s" in sim.exit.reason


def test_a_check_that_hangs_at_the_start_is_killed() -> None:
    """
    START_TIMEOUT limits `nginx -t` too.
    """
    sim = Simulation({"START_TIMEOUT": "3s"}, system=FakeSystem(check_time=60)).serve(1)
    sim.run(5)

    assert sim.exit
    assert ExitCode.UNAVAILABLE == sim.exit.code
    assert 1 == len(sim.signals(signal.SIGKILL))


def test_past_the_deadline_nothing_is_started() -> None:
    """
    A restart past the deadline logs this and exits with 0.
    """
    record = DeadlineRecord("", WALL - 100, "TTL=10s", WALL - 90)
    sim = Simulation({"TTL": "10s"}, record)

    assert sim.exit
    assert (0, "deadline passed before this start") == (sim.exit.code, sim.exit.reason)
    assert [] == sim.commands(Stage)
    assert [] == sim.send(snapshot(1))


def test_a_warning_about_the_operators_files_is_logged_once() -> None:
    """
    Each staging repeats it; the log has it once, and the status until a staging is without it.
    """
    sim = Simulation(system=FakeSystem(file_warnings=("on our port",))).serve(1)
    sim.serve(1, 2)

    (line,) = sim.notes("config.warning")
    assert ("warning", "on our port") == (line.level, line.fields["reason"])
    assert "server.d" in line.fields["hint"]
    assert ("on our port",) == sim.state.file_warnings


@pytest.mark.parametrize("first_start", [WALL, WALL - 100])
def test_past_a_deadline_that_is_set_a_later_one_is_the_remedy(first_start: float) -> None:
    """
    The setting was wrong from the first start on, or its time came since; no file is the reason.
    """
    origin = f"DEADLINE={format_instant(WALL - 50)}"
    record = DeadlineRecord("", first_start, origin, WALL - 50)
    sim = Simulation({"DEADLINE": str(WALL - 50)}, record)

    assert sim.exit
    why = f"{origin} is in the past" if first_start == WALL else "deadline passed before this start"
    assert (0, why) == (sim.exit.code, sim.exit.reason)
    clock = f"; the clock of this machine is at {format_instant(WALL)}"
    hint = f"set a later DEADLINE{clock if first_start == WALL else ''}"
    assert hint == sim.exit.fields["hint"]


def test_the_record_of_another_allocation_is_logged() -> None:
    """
    The log states why an old record is not used.
    """
    sim = Simulation({"NOMAD_ALLOC_ID": "new"}, DeadlineRecord("old", WALL - 5, "TTL=1d", WALL))

    assert "another allocation" in sim.notes("deadline.anchored")[0].fields["reason"]


def test_a_record_that_cannot_be_saved_is_a_warning() -> None:
    """
    An unwritable STATE_DIR does not prevent serving.
    """
    sim = Simulation().serve(1)
    sim.send(StateSaved("cannot write"))

    assert "warning" == sim.notes("state.not_saved")[0].level
    assert sim.exit is None


def test_a_failing_source_is_a_warning_once() -> None:
    """
    The first failure is a warning, later ones are debug lines, the recovery is logged.
    """
    sim = Simulation().serve(1, 2)
    for _ in range(3):
        sim.send(DiscoveryFailed(SOURCE, "refused", 0.1))
    sim.run(2)
    sim.send(snapshot(1, 2))

    assert ["warning", "debug", "debug"] == [note.level for note in sim.notes("discovery.failed")]
    assert 2 == sim.notes("discovery.failed")[0].fields["endpoints_kept"]
    assert 2.0 == sim.notes("discovery.recovered")[0].fields["after"]
    assert endpoints(1, 2) == sim.served.endpoints


def test_a_source_that_fails_before_any_answer_keeps_nothing() -> None:
    """
    A source that fails from the start has no endpoints to keep, and the start continues.
    """
    sim = Simulation({"START_WAIT": "10s"})
    sim.send(DiscoveryFailed(SOURCE, "refused", 0.1))
    sim.run(1)

    assert [1000.0] == sim.times(Stage)  # waiting would not help
    assert 0 == sim.notes("discovery.failed")[0].fields["endpoints_kept"]
    assert Mode.STARTING is sim.served.mode


def test_refused_rows_are_a_warning() -> None:
    """
    Rows that may not be served are counted and logged.
    """
    sim = Simulation()
    sim.send(SnapshotArrived(SOURCE, endpoints(1), refused=2, over_limit=1))

    line = sim.notes("endpoints.changed")[0]
    assert ("warning", 2, 1) == (line.level, line.fields["refused"], line.fields["over_limit"])


def test_a_port_in_use_is_awaited() -> None:
    """
    The first start waits for a port in use without starting nginx, and logs that once.
    """
    sim = Simulation(system=FakeSystem(port_busy="0.0.0.0:8080")).serve(1)
    assert [] == sim.notes("nginx.started")
    sim.system.port_busy = ""
    sim.run(0.1)

    assert sim.state.view.healthy
    (line,) = sim.notes("nginx.port_busy")
    assert "0.0.0.0:8080" == line.fields["address"]
    assert "set another LISTEN_PORT" in line.fields["hint"]
    assert line.fields["hint"].endswith("starting nginx once it is free, or in 7s")


@pytest.mark.parametrize("start_timeout, waits", [("10s", 7.0), ("2s", 0.05)])
def test_nginx_itself_reports_a_port_that_stays_in_use(start_timeout: str, waits: float) -> None:
    """
    At the end of the wait nginx is started even so: its tries fit into START_TIMEOUT.
    """
    system = FakeSystem(port_busy="0.0.0.0:8080", boot_time=60)
    sim = Simulation({"START_TIMEOUT": start_timeout}, system=system)
    sim.send(snapshot(1))
    sim.run(9)

    (last,) = [command for command in sim.commands(SpawnMaster) if command.even_if_busy]
    assert waits == pytest.approx(sim.times(SpawnMaster)[-1] - sim.times(SpawnMaster)[0], abs=0.06)
    assert last is sim.commands(SpawnMaster)[-1]


def test_a_stop_signal_ends_the_wait_for_a_port() -> None:
    """
    Without an nginx there is nothing to drain.
    """
    sim = Simulation(system=FakeSystem(port_busy="0.0.0.0:8080")).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))

    assert sim.exit
    assert ExitCode.OK == sim.exit.code


@pytest.mark.parametrize("command,action", [(Stage, "stage"), (Swap, "swap in")])
def test_a_first_start_does_not_wait_for_a_hanging_disk(
    command: type[Command], action: str
) -> None:
    """
    After START_TIMEOUT without a result of the file writer the program exits with 78.
    """
    system = FakeSystem(ignored_commands=frozenset({command}))
    sim = Simulation({"START_TIMEOUT": "2s"}, system=system)
    sim.send(snapshot(1))
    sim.run(1.5)
    assert sim.exit is None
    sim.run(1)

    assert sim.exit is not None
    assert ExitCode.CONFIG == sim.exit.code
    reason = f"cannot {action} the configuration: the disk did not respond within 2s; giving up"
    assert reason == sim.exit.fields["message"]


@pytest.mark.parametrize("command", [Stage, Swap])
def test_a_hanging_disk_ends_no_serving_nginx(command: type[Command]) -> None:
    """
    A later attempt waits for the disk, however long.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.ignored_commands = frozenset({command})
    sim.send(snapshot(2))
    sim.run(60)

    assert sim.exit is None
    assert endpoints(1) == sim.served.endpoints
