"""
Reloads: from a change of endpoints to a generation that answers, or to a rollback.
"""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import reload
from supervisor.core.commands import (
    CheckFiles,
    Command,
    Discard,
    Kill,
    QuitOldWorkers,
    RememberWorkers,
    Requery,
    Restore,
    SpawnCheck,
    Stage,
    Swap,
)
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    ChildExited,
    FilesChecked,
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


def test_a_change_is_staged_checked_swapped_and_signalled() -> None:
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


def test_each_step_of_a_change_is_logged_with_its_time() -> None:
    """
    LOG_LEVEL=debug shows where the time of a change goes.
    """
    sim = Simulation({"RELOAD_QUIET": "0s"}, system=FakeSystem(check_time=0.05)).serve(1)
    before = len(sim.notes("reload.step"))
    sim.send(snapshot(2))
    sim.run(1)

    steps = [note.fields for note in sim.notes("reload.step")[before:]]
    assert [Step.STAGING, Step.CHECKING, Step.SWAPPING, Step.LOOKING, Step.IDLE] == [
        step["step"] for step in steps
    ]
    assert 0 == steps[0]["after"]
    assert pytest.approx(0.05, abs=0.01) == steps[2]["after"]
    assert {"debug"} == {note.level for note in sim.notes("reload.step")}


def test_the_same_endpoints_in_another_order_change_nothing() -> None:
    """
    Plans are compared regardless of order.
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
    Constant changes are applied RELOAD_QUIET after the first one.
    """
    sim = Simulation({"RELOAD_QUIET": "500ms"}).serve(1)
    for port in range(2, 12):
        sim.send(snapshot(port))
        sim.run(0.1)

    assert pytest.approx([0.5], abs=0.02) == [at - 1001 for at in sim.signals(signal.SIGHUP)[:1]]


def test_a_change_is_checked_during_the_quiet_time() -> None:
    """
    Staging and `nginx -t` do not delay SIGHUP beyond the quiet time.
    """
    sim = Simulation({"RELOAD_QUIET": "10ms"}).serve(1)
    sim.send(snapshot(2))
    sim.run(0.1)

    assert pytest.approx([0.010]) == [at - 1001 for at in sim.signals(signal.SIGHUP)]


def test_an_early_attempt_is_repeated_once() -> None:
    """
    A configuration checked before another change is discarded; the next one is applied even if more
    changes follow, so that constant changes cannot starve the reload.
    """
    sim = Simulation({"RELOAD_QUIET": "10ms"}, system=FakeSystem(check_time=0.05)).serve(1)
    for port in (2, 3, 4):
        sim.send(snapshot(port))
        sim.run(0.04)
    sim.run(3)

    assert 2 == len(sim.signals(signal.SIGHUP))
    assert [2, 3, 4] == [stage.plan.endpoints[0].port for stage in sim.commands(Stage)[1:]]
    assert endpoints(4) == sim.served.endpoints


def test_reloads_are_rate_limited_and_the_last_state_wins() -> None:
    """
    1,000 changes in 10 s lead to one bucket of reloads and one per second.
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
    After any sequence of answers, the last one is served.
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


def test_a_refused_configuration_changes_nothing() -> None:
    """
    If `nginx -t` fails, the staged files are removed without a signal and the attempt is retried.
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
    The pause between retries applies to the failed plan only.
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
    A repair takes effect within 30 s.
    """
    sim = Simulation({"TTL": "never"}).serve(1)
    sim.system.check_code = 1
    sim.send(snapshot(2))
    sim.run(3600)

    assert 30.0 == max(note.fields["retry_in"] for note in sim.notes("reload.failed"))


def test_a_check_that_hangs_is_killed() -> None:
    """
    After START_TIMEOUT the process group of `nginx -t` is killed and the attempt fails.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.check_time = 3600
    sim.send(snapshot(2))
    sim.run(3)

    assert 1 == len(sim.signals(signal.SIGKILL))
    assert "nginx -t did not exit within 2s" == sim.notes("reload.failed")[0].fields["reason"]
    assert endpoints(1) == sim.served.endpoints


def test_a_check_that_never_started_times_out_too() -> None:
    """
    No process is killed then.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.ignored_commands = frozenset({SpawnCheck})
    sim.send(snapshot(2))
    sim.run(3)

    assert [] == sim.signals(signal.SIGKILL)
    assert 1 == len(sim.notes("reload.failed"))


def test_a_reload_that_nginx_ignores_restores_the_files() -> None:
    """
    If the old generation answers, the last good files are restored and the master gets SIGCONT.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}, system=FakeSystem()).serve(1)
    sim.system.reload_time = 3600
    sim.send(snapshot(2))
    sim.run(2.5)

    assert (
        "the new generation did not respond within 2s"
        == sim.notes("reload.failed")[0].fields["reason"]
    )
    assert 1 == len(sim.commands(Restore))
    assert 1 == len(sim.signals(signal.SIGCONT))
    assert 1 == len(sim.signals(signal.SIGHUP))
    assert endpoints(1) == sim.served.endpoints


def test_a_reload_that_makes_nginx_unresponsive_is_rolled_back() -> None:
    """
    The last good files are restored and nginx reloads them.
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
    assert endpoints(2) == sim.served.endpoints  # retried after nginx answers


def test_an_unresponsive_nginx_is_detected_and_reloaded() -> None:
    """
    It is detected within 5 s and reloads the last good files.
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


def test_one_late_answer_is_no_outage() -> None:
    """
    A query may time out on a busy machine; an outage is one second without any answer.
    """
    sim = Simulation().serve(1)
    sim.send(GenerationReported(None))
    sim.run(5)

    assert [] == sim.notes("nginx.unresponsive")


def test_a_master_still_unresponsive_after_a_reload_is_replaced() -> None:
    """
    After VERIFY_TIMEOUT its process group is killed and a new master started.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}).serve(1)
    sim.system.nginx_responds = False
    sim.run(8)
    assert 1 == len(sim.notes("nginx.replaced"))
    sim.system.nginx_responds = True
    sim.run(2)

    assert 2 == len(sim.notes("nginx.started"))
    assert sim.state.view.healthy


def test_a_permanently_unresponsive_nginx_ends_the_program() -> None:
    """
    After three new masters without an answer the exit code is 69.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "1s", "START_TIMEOUT": "5s"}).serve(1)
    sim.system.nginx_responds = False
    sim.run(120)

    assert sim.exit
    assert ExitCode.UNAVAILABLE == sim.exit.code
    assert "did not respond" in sim.exit.reason


def test_an_unknown_generation_is_replaced() -> None:
    """
    If another process reloaded nginx with other files, the wanted configuration is applied again.
    """
    sim = Simulation().serve(1)
    sim.run(5)
    sim.generation = "unknown"
    sim.run(5)

    assert 2 == len(sim.commands(Swap))
    assert sim.state.rollout.live
    assert sim.generation == sim.state.rollout.live.generation


def test_a_late_answer_of_old_workers_is_no_unknown_generation() -> None:
    """
    Old workers accept for another 100 ms: their answers right after a reload are ignored.
    """
    sim = Simulation().serve(1)
    old = sim.generation
    sim.send(snapshot(2))
    sim.run(0.2)
    sim.send(GenerationReported(old))
    sim.run(5)

    assert 1 == len(sim.signals(signal.SIGHUP))


def test_sighup_without_a_difference_does_not_reload_nginx() -> None:
    """
    SIGHUP queries every source, reads every file again, and reloads only if a byte differs.
    """
    sim = Simulation().serve(1)
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(2)

    assert 1 == len(sim.commands(Requery))
    assert 2 == len(sim.commands(Stage))
    assert [] == sim.signals(signal.SIGHUP)
    assert 1 == len(sim.notes("reload.unchanged"))


def test_sighup_restores_edited_live_files_without_a_reload() -> None:
    """
    If nginx runs the wanted configuration, only the files are restored.
    """
    sim = Simulation().serve(1)
    sim.system.files_intact = False
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(2)

    assert 1 == len(sim.commands(Restore))
    assert [] == sim.signals(signal.SIGHUP)
    assert 1 == len(sim.notes("config.restored"))


def test_a_broken_operator_file_does_not_block_endpoint_changes() -> None:
    """
    It is read at SIGHUP, refused and retried; endpoint changes use the last good files.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "broken"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(0.5)
    assert 1 == len(sim.notes("reload.failed"))

    sim.send(snapshot(2))
    sim.run(0.1)
    assert endpoints(2) == sim.served.endpoints

    sim.system.operator_files = "fixed"
    sim.run(40)
    assert sim.state.rollout.live
    assert sim.state.rollout.live.digest.endswith("/fixed")


def test_a_broken_file_does_not_block_a_simultaneous_change() -> None:
    """
    The first attempt contains both and is refused; a later one contains only the endpoints.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "broken"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.send(snapshot(2))
    sim.run(1.5)

    assert [True, True, False] == [stage.reread_operator_files for stage in sim.commands(Stage)[:3]]
    assert endpoints(2) == sim.served.endpoints


def test_an_edited_file_is_not_read_with_an_endpoint_change() -> None:
    """
    The edit may be incomplete: files are read only at SIGHUP.
    """
    sim = Simulation().serve(1)
    sim.system.operator_files = "half"
    sim.send(snapshot(2))
    sim.run(1)

    assert sim.state.rollout.live
    assert sim.state.rollout.live.digest.endswith("/whole")


def test_a_file_of_a_discarded_attempt_is_read_again() -> None:
    """
    If endpoints change in the quiet time after SIGHUP, the next attempt reads the files too.
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


def test_sighup_applies_a_changed_file() -> None:
    """
    Changed bytes are applied even if the endpoints are the same.
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


def test_a_full_disk_keeps_the_live_configuration() -> None:
    """
    A failure of staging or swapping is logged and retried.
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
    The attempt is repeated.
    """
    sim = Simulation().serve(1)
    sim.system.ignored_commands = frozenset({SpawnCheck})
    sim.send(snapshot(2))
    sim.run(0.2)
    sim.send(SpawnFailed(ChildKind.CHECK, ExitCode.UNAVAILABLE, "Resource temporarily unavailable"))
    sim.system.ignored_commands = frozenset()
    sim.run(3)

    assert endpoints(2) == sim.served.endpoints


def test_results_of_a_past_attempt_are_ignored() -> None:
    """
    Late results of the file writer, a check or a swap have no effect.
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


def test_the_order_of_servers_rotates_with_each_reload() -> None:
    """
    A reload resets nginx's counters: without rotation the last endpoints would get no requests.
    """
    sim = Simulation().serve(1)
    for port in (2, 3, 4):
        sim.send(snapshot(port))
        sim.run(3)

    assert [0, 1, 2, 3] == [stage.rotation for stage in sim.commands(Stage)]


def test_logs_are_reopened_on_request() -> None:
    """
    SIGUSR1 is forwarded to a ready master; other signals are not.
    """
    sim = Simulation()
    sim.send(SignalArrived(signal.SIGUSR1))
    assert [] == sim.signals(signal.SIGUSR1)

    sim.serve(1)
    sim.send(SignalArrived(signal.SIGUSR1))
    sim.send(SignalArrived(signal.SIGWINCH))
    assert 1 == len(sim.signals(signal.SIGUSR1))
    assert [] == sim.signals(signal.SIGWINCH)


def test_sigusr2_logs_the_status() -> None:
    """
    It is one line, with and without a deadline.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(SignalArrived(signal.SIGUSR2))
    fields = sim.notes("status")[0].fields
    assert ("up", 1, 3599.0) == (fields["nginx"], fields["endpoints"], fields["remaining"])

    sim = Simulation({"TTL": "never"}).serve(1)
    sim.send(SignalArrived(signal.SIGUSR2))
    assert sim.notes("status")[0].fields["remaining"] is None


def test_only_listed_transitions_are_allowed() -> None:
    """
    An attempt cannot become `looking` without `swapping`.
    """
    with pytest.raises(AssertionError, match="internal error"):
        reload.enter(reload.Rollout(quiet=0, interval=1), Step.LOOKING)


def test_a_silent_internal_socket_is_replaced_while_clients_are_served() -> None:
    """
    The public port answers: nginx is reloaded once with the same plan, stays healthy, and is
    neither killed nor counted as dead.
    """
    sim = Simulation().serve(1)
    sim.system.nginx_responds, sim.system.public_port_answers = False, True
    sim.run(4.6)
    assert 1 == len(sim.notes("nginx.socket_silent"))
    sim.system.nginx_responds = True
    sim.run(1)

    assert sim.state.view.healthy
    assert 1 == len(sim.signals(signal.SIGHUP))
    assert "new internal sockets" == sim.notes("reload.applied")[-1].fields["why"]
    assert [] == sim.signals(signal.SIGKILL) + sim.notes("nginx.unresponsive")
    sim.run(20)
    assert 1 == len(sim.signals(signal.SIGHUP))


def test_an_nginx_that_serves_clients_is_never_killed() -> None:
    """
    Even if no reload makes its internal socket answer: the reload is retried.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}).serve(1)
    sim.system.nginx_responds, sim.system.public_port_answers = False, True
    sim.run(120)

    assert sim.exit is None
    assert sim.state.view.healthy
    assert [] == sim.signals(signal.SIGKILL) + sim.notes("nginx.replaced")
    assert 3 < len(sim.notes("reload.failed")) < 10


def test_a_revived_nginx_that_serves_clients_is_not_killed() -> None:
    """
    Clients are answered again after the revival has begun, but its socket is gone: it is reloaded.
    """
    sim = Simulation({"VERIFY_TIMEOUT": "2s"}).serve(1)
    sim.system.nginx_responds = False
    sim.run(5)
    assert 1 == len(sim.notes("nginx.unresponsive"))
    sim.system.public_port_answers = True
    sim.run(10)

    assert [] == sim.signals(signal.SIGKILL) + sim.notes("nginx.replaced")
    assert sim.state.view.healthy


def test_an_nginx_that_stops_serving_after_its_socket_is_unresponsive() -> None:
    """
    While the reload for new sockets cannot begin, the public port is still watched.
    """
    sim = Simulation().serve(1)
    sim.system.free_processes = 0
    sim.system.nginx_responds, sim.system.public_port_answers = False, True
    sim.run(6)
    assert [] == sim.notes("nginx.unresponsive")
    sim.system.public_port_answers = False
    sim.run(1)

    assert 1 == len(sim.notes("nginx.unresponsive"))


def test_no_decision_is_made_before_the_public_port_was_asked() -> None:
    """
    Without its answer an nginx with a silent socket counts as healthy and is left alone.
    """
    sim = Simulation().serve(1)
    sim.system.nginx_responds, sim.system.public_port_answers = False, None
    sim.run(20)

    assert [] == sim.notes("nginx.unresponsive") + sim.notes("nginx.socket_silent")
    assert [] == sim.signals(signal.SIGHUP)


def test_files_that_were_removed_are_checked_at_rest() -> None:
    """
    With each poll of an idle nginx; what was restored is logged.
    """
    sim = Simulation().serve(1)
    before = len(sim.commands(CheckFiles))
    sim.run(35)
    assert 10 == len(sim.commands(CheckFiles)) - before
    sim.send(FilesChecked(restored=("lock",)))

    assert ["lock"] == sim.notes("runtime.restored")[0].fields["files"]
    assert [] == sim.signals(signal.SIGHUP)


def test_a_file_that_cannot_be_restored_is_reported_once() -> None:
    """
    The check is repeated, the log line is not, unless the reason changes.
    """
    sim = Simulation().serve(1)
    for error in ("a", "a", "", "a"):
        sim.send(FilesChecked(error=error))

    assert 2 == len(sim.notes("runtime.not_restored"))


def test_a_lost_socket_of_nginx_leads_to_one_reload() -> None:
    """
    It ends no older generation, and a dead master needs none.
    """
    sim = Simulation().serve(1)
    for _ in range(2):
        sim.send(FilesChecked(lost=("gen-0-1.sock",)))
    sim.run(2)

    assert 1 == len(sim.notes("nginx.socket_lost")) == len(sim.signals(signal.SIGHUP))
    sim.system.boot_time = 9
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    sim.send(FilesChecked(lost=("gen-0-1.sock",)))
    assert 1 == len(sim.notes("nginx.socket_lost"))


# ----------------------------------------------------------------------------- the old workers


def test_old_workers_accept_no_more_once_the_new_generation_responds() -> None:
    """
    They are remembered before SIGHUP, and signalled in the moment of the first new answer.
    """
    sim = Simulation().serve(1)
    assert [] == sim.commands(RememberWorkers)
    sim.send(snapshot(2))
    sim.run(1)

    steps = [
        type(command)
        for _, command in sim.issued
        if isinstance(command, RememberWorkers | Kill | QuitOldWorkers)
    ]
    assert [RememberWorkers, Kill, QuitOldWorkers] == steps
    (applied,) = sim.notes("reload.applied")[1:]
    assert sim.times(QuitOldWorkers) == [at for at, each in sim.issued if each is applied]


@pytest.mark.parametrize("when", ["before", "after"])
def test_workers_with_queues_of_their_own_are_left_to_the_master(when: str) -> None:
    """
    With `reuseport`, connections wait in the queue of one worker.
    """
    sim = Simulation(system=FakeSystem(reuseport=when == "before")).serve(1)
    sim.system.reuseport = when == "after"
    sim.send(snapshot(2))
    sim.run(1)

    assert endpoints(2) == sim.served.endpoints
    assert [] == sim.commands(QuitOldWorkers)


def test_a_reload_that_nothing_answers_ends_no_workers() -> None:
    """
    Neither does the revival, whose answer may come from an old worker.
    """
    sim = Simulation().serve(1)
    sim.system.reload_time = 3600
    sim.send(snapshot(2))
    sim.run(60)

    assert sim.notes("reload.failed")
    assert [] == sim.commands(QuitOldWorkers)


def test_a_restart_has_no_old_workers() -> None:
    """
    A new master answers first, whatever was remembered before it.
    """
    sim = Simulation().serve(1)
    sim.send(snapshot(2))
    sim.run(0.03)
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 1))
    sim.run(10)

    assert endpoints(2) == sim.served.endpoints
    assert len(sim.commands(RememberWorkers)) > len(sim.commands(QuitOldWorkers))
