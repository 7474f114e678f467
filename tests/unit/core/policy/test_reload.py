"""
Reloads, as histories: from a change of endpoints to a generation that answers, or back.
"""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import reload
from supervisor.core.commands import (
    Command,
    Discard,
    Kill,
    Requery,
    Restore,
    SpawnCheck,
    Stage,
    Swap,
)
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    ChildExited,
    GenerationReported,
    SignalArrived,
    Spawned,
    SpawnFailed,
    Staged,
    StageFailed,
    SwapFailed,
    Swapped,
)
from supervisor.core.model import ChildKind, Mode
from supervisor.core.reload import BURST, Step
from tests.support.policy_simulation import FakeSystem, Simulation, endpoints, snapshot


def test_a_change_goes_stage_check_swap_hangup() -> None:
    """
    Nginx is signalled last, and only with files that `nginx -t` accepted.
    """
    sim = Simulation().serve(1)
    before = len(sim.issued)
    sim.send(snapshot(2))
    sim.run(1)

    steps = [
        type(command)
        for _, command in sim.issued[before:]
        if isinstance(command, Stage | SpawnCheck | Swap | Kill)
    ]
    assert [Stage, SpawnCheck, Swap, Kill] == steps
    assert endpoints(2) == sim.served.endpoints


def test_the_same_endpoints_in_another_order_change_nothing() -> None:
    """
    What is compared is what it means.
    """
    sim = Simulation().serve(1, 2)
    sim.send(snapshot(2, 1))
    sim.run(5)

    assert 1 == len(sim.commands(Stage))


def test_a_change_and_back_within_the_quiet_time_is_no_change() -> None:
    """
    A flap shorter than RELOAD_QUIET costs no reload.
    """
    sim = Simulation({"RELOAD_QUIET": "50ms"}).serve(1)
    sim.send(snapshot(2))
    sim.run(0.02)
    sim.send(snapshot(1))
    sim.run(5)

    assert [] == sim.signals(signal.SIGHUP)
    assert 1 == len(sim.commands(Swap))

    sim.send(snapshot(3))
    sim.run(0.04)
    assert [] == sim.signals(signal.SIGHUP)  # the next change has its own quiet time


def test_later_changes_never_prolong_the_wait() -> None:
    """
    A service that never goes quiet is applied RELOAD_QUIET after the first change.
    """
    sim = Simulation({"RELOAD_QUIET": "500ms"}).serve(1)
    for port in range(2, 12):
        sim.send(snapshot(port))
        sim.run(0.1)

    assert pytest.approx([0.5], abs=0.02) == [at - 1001 for at in sim.signals(signal.SIGHUP)[:1]]


def test_a_change_is_checked_during_the_quiet_time() -> None:
    """
    Staging and `nginx -t` take no time of their own: SIGHUP follows when the quiet time is over.
    """
    sim = Simulation({"RELOAD_QUIET": "10ms"}).serve(1)
    sim.send(snapshot(2))
    sim.run(0.1)

    assert pytest.approx([0.010]) == [at - 1001 for at in sim.signals(signal.SIGHUP)]


def test_work_done_early_is_done_again_once() -> None:
    """
    What was checked before more changed is thrown away; what is checked after that is applied,
    even if more changes meanwhile: changes that never end must not starve the reload.
    """
    sim = Simulation({"RELOAD_QUIET": "10ms"}, system=FakeSystem(check_time=0.05)).serve(1)
    for port in (2, 3, 4):
        sim.send(snapshot(port))
        sim.run(0.04)
    sim.run(3)

    assert 2 == len(sim.signals(signal.SIGHUP))
    assert [2, 3, 4] == [stage.plan.endpoints[0].port for stage in sim.commands(Stage)[1:]]
    assert endpoints(4) == sim.served.endpoints


def test_a_storm_is_bounded_and_the_last_state_wins() -> None:
    """
    Of 1,000 changes in 10 s a bucket's worth and one a second are reloads.
    """
    sim = Simulation().serve(1)
    for number in range(1000):
        sim.send(snapshot(1, 2 + number))
        sim.run(0.01)
    sim.run(5)

    assert len(sim.signals(signal.SIGHUP)) <= BURST + 1 + 10
    assert endpoints(1, 1001) == sim.served.endpoints


@given(st.lists(st.tuples(st.lists(st.integers(1, 5), max_size=3), st.floats(0, 3)), max_size=12))
def test_the_last_answer_always_wins(history: list[tuple[list[int], float]]) -> None:
    """
    Whatever the registry says and when, in the end its last word is served.
    """
    sim = Simulation().serve(9)
    for ports, pause in history:
        sim.send(snapshot(*set(ports)))
        sim.run(pause)
    sim.run(20)

    last = history[-1][0] if history else [9]
    assert endpoints(*set(last)) == sim.served.endpoints
    assert (Mode.SERVE if last else Mode.NO_ENDPOINTS) is sim.served.mode


def test_a_change_while_nginx_boots_waits() -> None:
    """
    SIGHUP in the first milliseconds kills nginx: none is sent before its first answer.
    """
    sim = Simulation(system=FakeSystem(boot_time=0.5))
    sim.send(snapshot(1))
    sim.run(0.1)
    sim.send(snapshot(2))
    sim.run(0.3)
    assert [] == sim.signals(signal.SIGHUP)

    sim.run(2)
    assert endpoints(2) == sim.served.endpoints


def test_a_refused_configuration_leaves_everything_as_it_was() -> None:
    """
    `nginx -t` fails: no swap, no signal, the staged files go, and it is tried again with pauses.
    """
    sim = Simulation().serve(1)
    sim.system.check_code, sim.system.check_output = 1, "duplicate upstream"
    sim.send(snapshot(2))
    sim.run(10)

    assert 1 == len(sim.commands(Swap))
    assert endpoints(1) == sim.served.endpoints
    failed = sim.notes("reload.failed")
    assert "duplicate upstream" == failed[0].fields["reason"]
    assert [1.0, 2.0, 4.0, 8.0] == [note.fields["retry_in"] for note in failed]
    assert len(failed) == len(sim.commands(Discard))


def test_a_new_plan_is_tried_at_once_after_a_failure() -> None:
    """
    The pause between retries is for what failed; what is new may work.
    """
    sim = Simulation().serve(1)
    sim.system.check_code = 1
    sim.send(snapshot(2))
    sim.run(8)
    sim.system.check_code = 0
    sim.send(snapshot(3))
    sim.run(0.5)

    assert endpoints(3) == sim.served.endpoints


def test_retries_are_at_most_half_a_minute_apart() -> None:
    """
    However long it fails, a repair is noticed within 30 s.
    """
    sim = Simulation({"TTL": "never"}).serve(1)
    sim.system.check_code = 1
    sim.send(snapshot(2))
    sim.run(3600)

    assert 30.0 == max(note.fields["retry_in"] for note in sim.notes("reload.failed"))


def test_a_check_that_hangs_is_killed() -> None:
    """
    `nginx -t` has START_TIMEOUT; after it its group is killed and the attempt is over.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.check_time = 3600
    sim.send(snapshot(2))
    sim.run(3)

    assert 1 == len(sim.signals(signal.SIGKILL))
    assert "nginx -t did not end within 2s" == sim.notes("reload.failed")[0].fields["reason"]
    assert endpoints(1) == sim.served.endpoints


def test_a_check_that_never_started_is_given_up_too() -> None:
    """
    There is nobody to kill then.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.ignored_commands = frozenset({SpawnCheck})
    sim.send(snapshot(2))
    sim.run(3)

    assert [] == sim.signals(signal.SIGKILL)
    assert 1 == len(sim.notes("reload.failed"))


def test_a_reload_that_nginx_ignores_restores_the_files() -> None:
    """
    The old generation answers on: the last good files come back, and a stopped master is woken.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}, system=FakeSystem()).serve(1)
    sim.system.reload_time = 3600
    sim.send(snapshot(2))
    sim.run(2.5)

    assert (
        "the new generation did not answer within 2s"
        == sim.notes("reload.failed")[0].fields["reason"]
    )
    assert 1 == len(sim.commands(Restore))
    assert 1 == len(sim.signals(signal.SIGCONT))
    assert 1 == len(sim.signals(signal.SIGHUP))
    assert endpoints(1) == sim.served.endpoints


def test_a_reload_after_which_nothing_answers_is_revived() -> None:
    """
    Silence: the last good files come back and nginx is told to read them.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}).serve(1)
    sim.send(snapshot(2))
    sim.run(0.05)
    sim.system.nginx_responds = False
    sim.run(2.5)
    sim.system.nginx_responds = True
    sim.run(0.1)

    assert 1 == len(sim.commands(Restore))
    assert 1 == len(sim.notes("reload.revived"))
    sim.run(2)
    assert endpoints(2) == sim.served.endpoints  # tried again, now that nginx answers


def test_a_blackout_at_rest_is_seen_and_revived() -> None:
    """
    Nginx accepts and never answers: seen within 5 s, ended by a reload of the last good files.
    """
    sim = Simulation().serve(1)
    sim.system.nginx_responds = False
    sim.run(5)

    assert 1 == len(sim.notes("nginx.unresponsive"))
    assert not sim.state.view.healthy
    sim.system.nginx_responds = True
    sim.run(0.5)
    assert 1 == len(sim.notes("reload.revived"))
    assert sim.state.view.healthy


def test_one_late_answer_is_no_blackout() -> None:
    """
    On a busy machine a look may be late: a second without any answer it takes.
    """
    sim = Simulation().serve(1)
    sim.send(GenerationReported(None))
    sim.run(5)

    assert [] == sim.notes("nginx.unresponsive")


def test_a_blackout_that_a_reload_does_not_end_costs_the_master() -> None:
    """
    What does not answer after VERIFY_TIMEOUT is killed as a group and started anew.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}).serve(1)
    sim.system.nginx_responds = False
    sim.run(8)
    assert 1 == len(sim.notes("nginx.replaced"))
    sim.system.nginx_responds = True
    sim.run(2)

    assert 2 == len(sim.notes("nginx.started"))
    assert sim.state.view.healthy


def test_a_blackout_that_never_ends_ends_the_program() -> None:
    """
    Three new masters that do not answer either are enough: 69.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "1s", "START_TIMEOUT": "5s"}).serve(1)
    sim.system.nginx_responds = False
    sim.run(120)

    assert sim.exit
    assert ExitCode.UNAVAILABLE == sim.exit.code
    assert "did not answer" in sim.exit.reason


def test_a_strange_generation_is_replaced_by_ours() -> None:
    """
    Somebody reloaded nginx with other files: what we want is put back.
    """
    sim = Simulation().serve(1)
    sim.run(5)
    sim.generation = "somebody-else"
    sim.run(5)

    assert 2 == len(sim.commands(Swap))
    assert sim.state.rollout.live
    assert sim.generation == sim.state.rollout.live.generation


def test_the_afterglow_of_a_reload_is_no_strange_generation() -> None:
    """
    Old workers accept for another 100 ms: their answer right after a promotion means nothing.
    """
    sim = Simulation().serve(1)
    old = sim.generation
    sim.send(snapshot(2))
    sim.run(0.2)
    sim.send(GenerationReported(old))
    sim.run(5)

    assert 1 == len(sim.signals(signal.SIGHUP))


def test_hangup_asks_again_and_signals_nobody_without_a_difference() -> None:
    """
    SIGHUP means: ask every source again, read every file again, reload only if a byte differs.
    """
    sim = Simulation().serve(1)
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(2)

    assert 1 == len(sim.commands(Requery))
    assert 2 == len(sim.commands(Stage))
    assert [] == sim.signals(signal.SIGHUP)
    assert 1 == len(sim.notes("reload.unchanged"))


def test_hangup_puts_edited_files_back_without_a_signal() -> None:
    """
    Nginx runs the right bytes, but somebody changed the files: only the files are mended.
    """
    sim = Simulation().serve(1)
    sim.system.files_intact = False
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(2)

    assert 1 == len(sim.commands(Restore))
    assert [] == sim.signals(signal.SIGHUP)
    assert 1 == len(sim.notes("config.restored"))


def test_a_broken_file_of_the_operator_holds_up_no_endpoint() -> None:
    """
    It is read at SIGHUP, refused, and tried again; endpoints change with the last good files.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "broken"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(0.5)
    assert 1 == len(sim.notes("reload.failed"))

    sim.send(snapshot(2))
    sim.run(0.1)
    assert endpoints(2) == sim.served.endpoints

    sim.system.operator_files = "mended"
    sim.run(40)
    assert sim.state.rollout.live
    assert sim.state.rollout.live.digest.endswith("/mended")


def test_a_broken_file_that_comes_with_a_change_gives_way_to_it() -> None:
    """
    The first try has both and is refused; the second has the endpoints alone.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "broken"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.send(snapshot(2))
    sim.run(1.5)

    assert [True, True, False] == [stage.reread_operator_files for stage in sim.commands(Stage)[:3]]
    assert endpoints(2) == sim.served.endpoints


def test_an_edit_is_no_part_of_an_endpoint_change() -> None:
    """
    Somebody is in the middle of it: only SIGHUP says that it is done.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "half"
    sim.send(snapshot(2))
    sim.run(1)

    assert sim.state.rollout.live
    assert sim.state.rollout.live.digest.endswith("/whole")


def test_a_file_read_for_an_attempt_that_was_thrown_away_is_read_again() -> None:
    """
    More changed during the quiet time after SIGHUP: the next attempt reads the files too.
    """
    sim = Simulation({"RELOAD_QUIET": "50ms"}).serve(1)
    sim.system.operator_files = "edited"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(0.02)
    sim.send(snapshot(2))
    sim.run(1)

    assert sim.state.rollout.live
    assert sim.state.rollout.live.digest.endswith("/edited")
    assert 1 == len(sim.signals(signal.SIGHUP))


def test_hangup_applies_a_changed_file() -> None:
    """
    Bytes that differ are rolled out though the endpoints are the same.
    """
    sim = Simulation(system=FakeSystem(ignored_commands=frozenset())).serve(1)
    sim.system.ignored_commands = frozenset({Stage})
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(0.5)
    sim.send(Staged(2, "another digest", "another-2", intact=True))
    sim.staged[2] = "another-2"
    sim.run(1)

    assert 1 == len(sim.signals(signal.SIGHUP))
    assert sim.state.rollout.live
    assert "another-2" == sim.state.rollout.live.generation


def test_a_disk_that_is_full_keeps_what_is_served() -> None:
    """
    Staging and swapping may fail at any time: it is said, and tried again.
    """
    failures: list[tuple[type[Command], StageFailed | SwapFailed]] = [
        (Stage, StageFailed(2, "No space left on device")),
        (Swap, SwapFailed(2, "No space left on device")),
    ]
    for command, failure in failures:
        sim = Simulation().serve(1)
        sim.system.ignored_commands = frozenset({command})
        sim.send(snapshot(2))
        sim.run(0.2)
        sim.send(failure)
        sim.system.ignored_commands = frozenset()
        assert endpoints(1) == sim.served.endpoints
        sim.run(3)

        assert "No space left on device" == sim.notes("reload.failed")[0].fields["reason"]
        assert endpoints(2) == sim.served.endpoints


def test_a_check_that_cannot_be_started_fails_the_attempt() -> None:
    """
    No memory for `nginx -t` just now: the attempt is repeated, nothing is lost.
    """
    sim = Simulation().serve(1)
    sim.system.ignored_commands = frozenset({SpawnCheck})
    sim.send(snapshot(2))
    sim.run(0.2)
    sim.send(SpawnFailed(ChildKind.CHECK, ExitCode.UNAVAILABLE, "Resource temporarily unavailable"))
    sim.system.ignored_commands = frozenset()
    sim.run(3)

    assert endpoints(2) == sim.served.endpoints


def test_news_of_an_attempt_that_is_over_is_ignored() -> None:
    """
    Late answers of the clerk, of a check or of a swap belong to nobody.
    """
    sim = Simulation().serve(1)
    late = [
        Staged(7, "digest", "generation", intact=True),
        StageFailed(7, "late"),
        Swapped(7),
        SwapFailed(7, "late"),
        ChildExited(4711, ChildKind.CHECK, 1),
    ]
    for event in late:
        assert [] == sim.send(event)
    assert [Kill(4711, signal.SIGKILL, group=True)] == sim.send(Spawned(ChildKind.CHECK, 4711))
    sim.run(5)

    assert endpoints(1) == sim.served.endpoints
    assert 1 == len(sim.commands(Stage))


def test_the_order_of_servers_turns_with_each_reload() -> None:
    """
    A reload resets nginx's counters: without rotation the last endpoints would starve.
    """
    sim = Simulation().serve(1)
    for port in (2, 3, 4):
        sim.send(snapshot(port))
        sim.run(3)

    assert [0, 1, 2, 3] == [stage.rotation for stage in sim.commands(Stage)]


def test_logs_are_reopened_on_request() -> None:
    """
    SIGUSR1 is forwarded to a master that answers; other signals mean nothing to nginx.
    """
    sim = Simulation()
    sim.send(SignalArrived(signal.SIGUSR1))
    assert [] == sim.signals(signal.SIGUSR1)

    sim.serve(1)
    sim.send(SignalArrived(signal.SIGUSR1))
    sim.send(SignalArrived(signal.SIGWINCH))
    assert 1 == len(sim.signals(signal.SIGUSR1))
    assert [] == sim.signals(signal.SIGWINCH)


def test_the_status_is_said_on_request() -> None:
    """
    SIGUSR2 writes one line with everything, with and without a deadline.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(SignalArrived(signal.SIGUSR2))
    fields = sim.notes("status")[0].fields
    assert ("up", 1, 3599.0) == (fields["nginx"], fields["endpoints"], fields["remaining"])

    sim = Simulation({"TTL": "never"}).serve(1)
    sim.send(SignalArrived(signal.SIGUSR2))
    assert sim.notes("status")[0].fields["remaining"] is None


def test_only_the_ways_of_the_table_are_taken() -> None:
    """
    Nothing is looked for that was not swapped in.
    """
    with pytest.raises(AssertionError, match="internal error"):
        reload.enter(reload.Rollout(quiet=0, interval=1), Step.LOOKING)
