"""
The start, as histories: what happens up to the first answer.
"""

import signal

import pytest

from supervisor.core.commands import Command, SpawnCheck, SpawnMaster, Stage, Swap
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    DiscoveryFailed,
    SnapshotArrived,
    SpawnFailed,
    StageFailed,
    StateSaved,
    SwapFailed,
)
from supervisor.core.model import ChildKind, Mode
from tests.support.play import SOURCE, WALL, Play, World, arrives, endpoints


def test_the_first_answer_is_served_without_a_reload() -> None:
    """
    What discovery knows before nginx starts is in the first configuration: no SIGHUP follows.
    """
    play = Play().serve(1, 2)

    assert endpoints(1, 2) == play.served.endpoints
    assert [] == play.signals(1)
    assert 1 == len(play.all(SpawnMaster))


def test_a_silent_registry_delays_the_start_by_start_wait_only() -> None:
    """
    Nginx starts without endpoints once START_WAIT is over, and answers 503.
    """
    play = Play({"START_WAIT": "250ms"}).run(1)

    assert [1000.25] == play.times(Stage)
    assert Mode.STARTING is play.served.mode


def test_two_services_are_awaited_together() -> None:
    """
    With several services the first start waits for all of them, within START_WAIT.
    """
    play = Play({"SERVICE_NAME": "web,api"})

    play.send(arrives(1))
    assert [] == play.all(Stage)

    play.send(SnapshotArrived("nomad:api", endpoints(2)))
    play.run(1)
    assert endpoints(1, 2) == play.served.endpoints


def test_an_empty_registry_is_told_from_a_silent_one() -> None:
    """
    A first empty answer starts nginx with `starting`; its confirmation makes it `no_endpoints`.
    """
    play = Play()
    play.send(arrives(confirmed=False))
    play.run(1)
    assert Mode.STARTING is play.served.mode

    play.send(arrives())
    play.run(1)
    assert Mode.NO_ENDPOINTS is play.served.mode


def test_a_configuration_that_nginx_refuses_ends_the_start() -> None:
    """
    Before anything serves, a configuration refused by `nginx -t` is a setting to mend: 78.
    """
    play = Play(world=World(check=1, check_says="unknown directive")).serve(1)

    assert play.exit
    assert (ExitCode.CONFIG, "unknown directive") == (play.exit.code, play.exit.fields["message"])


def test_a_refusal_without_words_still_has_a_reason() -> None:
    """
    The exit carries the code of `nginx -t` when it said nothing.
    """
    play = Play(world=World(check=3)).serve(1)

    assert play.exit
    assert "nginx -t ended with 3" == play.exit.fields["message"]


@pytest.mark.parametrize(
    "command, failure", [(Stage, StageFailed(1, "disk full")), (Swap, SwapFailed(1, "disk full"))]
)
def test_files_that_cannot_be_written_end_the_start(
    command: type[Command], failure: StageFailed | SwapFailed
) -> None:
    """
    A runtime folder that takes no files is found at the start: 78.
    """
    play = Play(world=World(silent_orders=frozenset({command}))).serve(1)
    play.send(failure)

    assert play.exit
    assert (ExitCode.CONFIG, "disk full") == (play.exit.code, play.exit.fields["message"])


@pytest.mark.parametrize("kind", [ChildKind.MASTER, ChildKind.CHECK])
@pytest.mark.parametrize("code", [ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND])
def test_an_nginx_that_cannot_be_executed_ends_the_start(kind: ChildKind, code: ExitCode) -> None:
    """
    The exit code tells a missing program from one without the right to run.
    """
    play = Play(world=World(silent_orders=frozenset({SpawnMaster, SpawnCheck})))
    play.serve(1)
    play.send(SpawnFailed(kind, code, "cannot start nginx"))

    assert play.exit
    assert (code, "cannot start nginx") == (play.exit.code, play.exit.fields["message"])


def test_an_nginx_that_never_answers_is_ended() -> None:
    """
    START_TIMEOUT bounds the first start: the group is killed and the code is 69.
    """
    play = Play({"START_TIMEOUT": "3s"}, world=World(answers=False)).serve(1)
    play.run(5)

    assert play.exit
    assert ExitCode.UNAVAILABLE == play.exit.code
    assert "did not answer within 3s" in play.exit.reason


def test_a_check_that_hangs_at_the_start_is_ended() -> None:
    """
    `nginx -t` has START_TIMEOUT too.
    """
    play = Play({"START_TIMEOUT": "3s"}, world=World(check_takes=60)).serve(1)
    play.run(5)

    assert play.exit
    assert ExitCode.UNAVAILABLE == play.exit.code
    assert 1 == len(play.signals(signal.SIGKILL))


def test_past_the_deadline_nothing_is_started() -> None:
    """
    A restart past the deadline only says so, and leaves with 0.
    """
    record = DeadlineRecord("", WALL - 100, "TTL=10s", WALL - 90)
    play = Play({"TTL": "10s"}, record)

    assert play.exit
    assert (0, "deadline passed before this start") == (play.exit.code, play.exit.reason)
    assert [] == play.all(Stage)
    assert [] == play.send(arrives(1))


def test_the_record_of_another_allocation_is_remarked_upon() -> None:
    """
    What is decided about an old record is said.
    """
    play = Play({"NOMAD_ALLOC_ID": "new"}, DeadlineRecord("old", WALL - 5, "TTL=1d", WALL))

    assert "another allocation" in play.notes("deadline.anchored")[0].fields["reason"]


def test_a_lost_record_is_a_warning() -> None:
    """
    An unwritable STATE_DIR does not keep anybody from serving.
    """
    play = Play().serve(1)
    play.send(StateSaved("cannot write"))

    assert "warning" == play.notes("state.not_saved")[0].level
    assert play.exit is None


def test_a_failing_source_is_warned_of_once() -> None:
    """
    The first failure is a warning, the ones after it are for those who debug, the end is news.
    """
    play = Play().serve(1, 2)
    for _ in range(3):
        play.send(DiscoveryFailed(SOURCE, "refused", 0.1))
    play.run(2)
    play.send(arrives(1, 2))

    assert ["warning", "debug", "debug"] == [note.level for note in play.notes("discovery.failed")]
    assert 2 == play.notes("discovery.failed")[0].fields["endpoints_kept"]
    assert 2.0 == play.notes("discovery.recovered")[0].fields["after"]
    assert endpoints(1, 2) == play.served.endpoints


def test_a_source_that_fails_before_any_answer_keeps_nothing() -> None:
    """
    Failing from the start, there are no endpoints to keep, and the start goes on.
    """
    play = Play({"START_WAIT": "10s"})
    play.send(DiscoveryFailed(SOURCE, "refused", 0.1))
    play.run(1)

    assert [1000.0] == play.times(Stage)  # nothing better is to be expected from waiting
    assert 0 == play.notes("discovery.failed")[0].fields["endpoints_kept"]
    assert Mode.STARTING is play.served.mode


def test_refused_rows_are_a_warning() -> None:
    """
    Rows that may not be served are counted and said.
    """
    play = Play()
    play.send(SnapshotArrived(SOURCE, endpoints(1), refused=2, over_limit=1))

    said = play.notes("endpoints.changed")[0]
    assert ("warning", 2, 1) == (said.level, said.fields["refused"], said.fields["over_limit"])
