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
from tests.support.play import Play, World, arrives, endpoints


def test_a_change_goes_stage_check_swap_hangup() -> None:
    """
    Nginx is signalled last, and only with files that `nginx -t` accepted.
    """
    play = Play().serve(1)
    before = len(play.issued)
    play.send(arrives(2))
    play.run(1)

    steps = [
        type(command)
        for _, command in play.issued[before:]
        if isinstance(command, Stage | SpawnCheck | Swap | Kill)
    ]
    assert [Stage, SpawnCheck, Swap, Kill] == steps
    assert endpoints(2) == play.served.endpoints


def test_the_same_endpoints_in_another_order_change_nothing() -> None:
    """
    What is compared is what it means.
    """
    play = Play().serve(1, 2)
    play.send(arrives(2, 1))
    play.run(5)

    assert 1 == len(play.all(Stage))


def test_a_change_and_back_within_the_quiet_time_is_no_change() -> None:
    """
    A flap shorter than RELOAD_QUIET costs no reload.
    """
    play = Play({"RELOAD_QUIET": "50ms"}).serve(1)
    play.send(arrives(2))
    play.run(0.02)
    play.send(arrives(1))
    play.run(5)

    assert [] == play.signals(signal.SIGHUP)
    assert 1 == len(play.all(Swap))

    play.send(arrives(3))
    play.run(0.04)
    assert [] == play.signals(signal.SIGHUP)  # the next change has its own quiet time


def test_later_changes_never_prolong_the_wait() -> None:
    """
    A service that never goes quiet is applied RELOAD_QUIET after the first change.
    """
    play = Play({"RELOAD_QUIET": "500ms"}).serve(1)
    for port in range(2, 12):
        play.send(arrives(port))
        play.run(0.1)

    assert pytest.approx([0.5], abs=0.02) == [at - 1001 for at in play.signals(signal.SIGHUP)[:1]]


def test_a_change_is_checked_during_the_quiet_time() -> None:
    """
    Staging and `nginx -t` take no time of their own: SIGHUP follows when the quiet time is over.
    """
    play = Play({"RELOAD_QUIET": "10ms"}).serve(1)
    play.send(arrives(2))
    play.run(0.1)

    assert pytest.approx([0.010]) == [at - 1001 for at in play.signals(signal.SIGHUP)]


def test_work_done_early_is_done_again_once() -> None:
    """
    What was checked before more changed is thrown away; what is checked after that is applied,
    even if more changes meanwhile: changes that never end must not starve the reload.
    """
    play = Play({"RELOAD_QUIET": "10ms"}, world=World(check_takes=0.05)).serve(1)
    for port in (2, 3, 4):
        play.send(arrives(port))
        play.run(0.04)
    play.run(3)

    assert 2 == len(play.signals(signal.SIGHUP))
    assert [2, 3, 4] == [stage.plan.endpoints[0].port for stage in play.all(Stage)[1:]]
    assert endpoints(4) == play.served.endpoints


def test_a_storm_is_bounded_and_the_last_state_wins() -> None:
    """
    Of 1,000 changes in 10 s a bucket's worth and one a second are reloads.
    """
    play = Play().serve(1)
    for number in range(1000):
        play.send(arrives(1, 2 + number))
        play.run(0.01)
    play.run(5)

    assert len(play.signals(signal.SIGHUP)) <= BURST + 1 + 10
    assert endpoints(1, 1001) == play.served.endpoints


@given(st.lists(st.tuples(st.lists(st.integers(1, 5), max_size=3), st.floats(0, 3)), max_size=12))
def test_the_last_answer_always_wins(history: list[tuple[list[int], float]]) -> None:
    """
    Whatever the registry says and when, in the end its last word is served.
    """
    play = Play().serve(9)
    for ports, pause in history:
        play.send(arrives(*set(ports)))
        play.run(pause)
    play.run(20)

    last = history[-1][0] if history else [9]
    assert endpoints(*set(last)) == play.served.endpoints
    assert (Mode.SERVE if last else Mode.NO_ENDPOINTS) is play.served.mode


def test_a_change_while_nginx_boots_waits() -> None:
    """
    SIGHUP in the first milliseconds kills nginx: none is sent before its first answer.
    """
    play = Play(world=World(boot=0.5))
    play.send(arrives(1))
    play.run(0.1)
    play.send(arrives(2))
    play.run(0.3)
    assert [] == play.signals(signal.SIGHUP)

    play.run(2)
    assert endpoints(2) == play.served.endpoints


def test_a_refused_configuration_leaves_everything_as_it_was() -> None:
    """
    `nginx -t` fails: no swap, no signal, the staged files go, and it is tried again with pauses.
    """
    play = Play().serve(1)
    play.world.check, play.world.check_says = 1, "duplicate upstream"
    play.send(arrives(2))
    play.run(10)

    assert 1 == len(play.all(Swap))
    assert endpoints(1) == play.served.endpoints
    failed = play.notes("reload.failed")
    assert "duplicate upstream" == failed[0].fields["reason"]
    assert [1.0, 2.0, 4.0, 8.0] == [note.fields["retry_in"] for note in failed]
    assert len(failed) == len(play.all(Discard))


def test_a_new_plan_is_tried_at_once_after_a_failure() -> None:
    """
    The pause between retries is for what failed; what is new may work.
    """
    play = Play().serve(1)
    play.world.check = 1
    play.send(arrives(2))
    play.run(8)
    play.world.check = 0
    play.send(arrives(3))
    play.run(0.5)

    assert endpoints(3) == play.served.endpoints


def test_retries_are_at_most_half_a_minute_apart() -> None:
    """
    However long it fails, a repair is noticed within 30 s.
    """
    play = Play({"TTL": "never"}).serve(1)
    play.world.check = 1
    play.send(arrives(2))
    play.run(3600)

    assert 30.0 == max(note.fields["retry_in"] for note in play.notes("reload.failed"))


def test_a_check_that_hangs_is_killed() -> None:
    """
    `nginx -t` has START_TIMEOUT; after it its group is killed and the attempt is over.
    """
    play = Play({"START_TIMEOUT": "2s"}).serve(1)
    play.world.check_takes = 3600
    play.send(arrives(2))
    play.run(3)

    assert 1 == len(play.signals(signal.SIGKILL))
    assert "nginx -t did not end within 2s" == play.notes("reload.failed")[0].fields["reason"]
    assert endpoints(1) == play.served.endpoints


def test_a_check_that_never_started_is_given_up_too() -> None:
    """
    There is nobody to kill then.
    """
    play = Play({"START_TIMEOUT": "2s"}).serve(1)
    play.world.silent_orders = frozenset({SpawnCheck})
    play.send(arrives(2))
    play.run(3)

    assert [] == play.signals(signal.SIGKILL)
    assert 1 == len(play.notes("reload.failed"))


def test_a_reload_that_nginx_ignores_restores_the_files() -> None:
    """
    The old generation answers on: the last good files come back, and a stopped master is woken.
    """
    play = Play({"VERIFY_TIMEOUT": "2s"}, world=World()).serve(1)
    play.world.reload = 3600
    play.send(arrives(2))
    play.run(2.5)

    assert (
        "the new generation did not answer within 2s"
        == play.notes("reload.failed")[0].fields["reason"]
    )
    assert 1 == len(play.all(Restore))
    assert 1 == len(play.signals(signal.SIGCONT))
    assert 1 == len(play.signals(signal.SIGHUP))
    assert endpoints(1) == play.served.endpoints


def test_a_reload_after_which_nothing_answers_is_revived() -> None:
    """
    Silence: the last good files come back and nginx is told to read them.
    """
    play = Play({"VERIFY_TIMEOUT": "2s"}).serve(1)
    play.send(arrives(2))
    play.run(0.05)
    play.world.answers = False
    play.run(2.5)
    play.world.answers = True
    play.run(0.1)

    assert 1 == len(play.all(Restore))
    assert 1 == len(play.notes("reload.revived"))
    play.run(2)
    assert endpoints(2) == play.served.endpoints  # tried again, now that nginx answers


def test_a_blackout_at_rest_is_seen_and_revived() -> None:
    """
    Nginx accepts and never answers: seen within 5 s, ended by a reload of the last good files.
    """
    play = Play().serve(1)
    play.world.answers = False
    play.run(5)

    assert 1 == len(play.notes("nginx.unresponsive"))
    assert not play.state.view.healthy
    play.world.answers = True
    play.run(0.5)
    assert 1 == len(play.notes("reload.revived"))
    assert play.state.view.healthy


def test_one_late_answer_is_no_blackout() -> None:
    """
    On a busy machine a look may be late: a second without any answer it takes.
    """
    play = Play().serve(1)
    play.send(GenerationReported(None))
    play.run(5)

    assert [] == play.notes("nginx.unresponsive")


def test_a_blackout_that_a_reload_does_not_end_costs_the_master() -> None:
    """
    What does not answer after VERIFY_TIMEOUT is killed as a group and started anew.
    """
    play = Play({"VERIFY_TIMEOUT": "2s"}).serve(1)
    play.world.answers = False
    play.run(8)
    assert 1 == len(play.notes("nginx.replaced"))
    play.world.answers = True
    play.run(2)

    assert 2 == len(play.notes("nginx.started"))
    assert play.state.view.healthy


def test_a_blackout_that_never_ends_ends_the_program() -> None:
    """
    Three new masters that do not answer either are enough: 69.
    """
    play = Play({"VERIFY_TIMEOUT": "1s", "START_TIMEOUT": "5s"}).serve(1)
    play.world.answers = False
    play.run(120)

    assert play.exit
    assert ExitCode.UNAVAILABLE == play.exit.code
    assert "did not answer" in play.exit.reason


def test_a_strange_generation_is_replaced_by_ours() -> None:
    """
    Somebody reloaded nginx with other files: what we want is put back.
    """
    play = Play().serve(1)
    play.run(5)
    play._generation = "somebody-else"
    play.run(5)

    assert 2 == len(play.all(Swap))
    assert play.state.rollout.live
    assert play._generation == play.state.rollout.live.generation


def test_the_afterglow_of_a_reload_is_no_strange_generation() -> None:
    """
    Old workers accept for another 100 ms: their answer right after a promotion means nothing.
    """
    play = Play().serve(1)
    old = play._generation
    play.send(arrives(2))
    play.run(0.2)
    play.send(GenerationReported(old))
    play.run(5)

    assert 1 == len(play.signals(signal.SIGHUP))


def test_hangup_asks_again_and_signals_nobody_without_a_difference() -> None:
    """
    SIGHUP means: ask every source again, read every file again, reload only if a byte differs.
    """
    play = Play().serve(1)
    play.send(SignalArrived(signal.SIGHUP))
    play.run(2)

    assert 1 == len(play.all(Requery))
    assert 2 == len(play.all(Stage))
    assert [] == play.signals(signal.SIGHUP)
    assert 1 == len(play.notes("reload.unchanged"))


def test_hangup_puts_edited_files_back_without_a_signal() -> None:
    """
    Nginx runs the right bytes, but somebody changed the files: only the files are mended.
    """
    play = Play().serve(1)
    play.world.intact = False
    play.send(SignalArrived(signal.SIGHUP))
    play.run(2)

    assert 1 == len(play.all(Restore))
    assert [] == play.signals(signal.SIGHUP)
    assert 1 == len(play.notes("config.restored"))


def test_a_broken_file_of_the_operator_holds_up_no_endpoint() -> None:
    """
    It is read at SIGHUP, refused, and tried again; endpoints change with the last good files.
    """
    play = Play().serve(1)
    play.world.files = "broken"
    play.send(SignalArrived(signal.SIGHUP))
    play.run(0.5)
    assert 1 == len(play.notes("reload.failed"))

    play.send(arrives(2))
    play.run(0.1)
    assert endpoints(2) == play.served.endpoints

    play.world.files = "mended"
    play.run(40)
    assert play.state.rollout.live
    assert play.state.rollout.live.digest.endswith("/mended")


def test_a_broken_file_that_comes_with_a_change_gives_way_to_it() -> None:
    """
    The first try has both and is refused; the second has the endpoints alone.
    """
    play = Play().serve(1)
    play.world.files = "broken"
    play.send(SignalArrived(signal.SIGHUP))
    play.send(arrives(2))
    play.run(1.5)

    assert [True, True, False] == [stage.reread_operator_files for stage in play.all(Stage)[:3]]
    assert endpoints(2) == play.served.endpoints


def test_an_edit_is_no_part_of_an_endpoint_change() -> None:
    """
    Somebody is in the middle of it: only SIGHUP says that it is done.
    """
    play = Play().serve(1)
    play.world.files = "half"
    play.send(arrives(2))
    play.run(1)

    assert play.state.rollout.live
    assert play.state.rollout.live.digest.endswith("/whole")


def test_a_file_read_for_an_attempt_that_was_thrown_away_is_read_again() -> None:
    """
    More changed during the quiet time after SIGHUP: the next attempt reads the files too.
    """
    play = Play({"RELOAD_QUIET": "50ms"}).serve(1)
    play.world.files = "edited"
    play.send(SignalArrived(signal.SIGHUP))
    play.run(0.02)
    play.send(arrives(2))
    play.run(1)

    assert play.state.rollout.live
    assert play.state.rollout.live.digest.endswith("/edited")
    assert 1 == len(play.signals(signal.SIGHUP))


def test_hangup_applies_a_changed_file() -> None:
    """
    Bytes that differ are rolled out though the endpoints are the same.
    """
    play = Play(world=World(silent_orders=frozenset())).serve(1)
    play.world.silent_orders = frozenset({Stage})
    play.send(SignalArrived(signal.SIGHUP))
    play.run(0.5)
    play.send(Staged(2, "another digest", "another-2", intact=True))
    play._staged[2] = "another-2"
    play.run(1)

    assert 1 == len(play.signals(signal.SIGHUP))
    assert play.state.rollout.live
    assert "another-2" == play.state.rollout.live.generation


def test_a_disk_that_is_full_keeps_what_is_served() -> None:
    """
    Staging and swapping may fail at any time: it is said, and tried again.
    """
    failures: list[tuple[type[Command], StageFailed | SwapFailed]] = [
        (Stage, StageFailed(2, "No space left on device")),
        (Swap, SwapFailed(2, "No space left on device")),
    ]
    for command, failure in failures:
        play = Play().serve(1)
        play.world.silent_orders = frozenset({command})
        play.send(arrives(2))
        play.run(0.2)
        play.send(failure)
        play.world.silent_orders = frozenset()
        assert endpoints(1) == play.served.endpoints
        play.run(3)

        assert "No space left on device" == play.notes("reload.failed")[0].fields["reason"]
        assert endpoints(2) == play.served.endpoints


def test_a_check_that_cannot_be_started_fails_the_attempt() -> None:
    """
    No memory for `nginx -t` just now: the attempt is repeated, nothing is lost.
    """
    play = Play().serve(1)
    play.world.silent_orders = frozenset({SpawnCheck})
    play.send(arrives(2))
    play.run(0.2)
    play.send(
        SpawnFailed(ChildKind.CHECK, ExitCode.UNAVAILABLE, "Resource temporarily unavailable")
    )
    play.world.silent_orders = frozenset()
    play.run(3)

    assert endpoints(2) == play.served.endpoints


def test_news_of_an_attempt_that_is_over_is_ignored() -> None:
    """
    Late answers of the clerk, of a check or of a swap belong to nobody.
    """
    play = Play().serve(1)
    late = [
        Staged(7, "digest", "generation", intact=True),
        StageFailed(7, "late"),
        Swapped(7),
        SwapFailed(7, "late"),
        ChildExited(4711, ChildKind.CHECK, 1),
    ]
    for event in late:
        assert [] == play.send(event)
    assert [Kill(4711, signal.SIGKILL, group=True)] == play.send(Spawned(ChildKind.CHECK, 4711))
    play.run(5)

    assert endpoints(1) == play.served.endpoints
    assert 1 == len(play.all(Stage))


def test_the_order_of_servers_turns_with_each_reload() -> None:
    """
    A reload resets nginx's counters: without rotation the last endpoints would starve.
    """
    play = Play().serve(1)
    for port in (2, 3, 4):
        play.send(arrives(port))
        play.run(3)

    assert [0, 1, 2, 3] == [stage.rotation for stage in play.all(Stage)]


def test_logs_are_reopened_on_request() -> None:
    """
    SIGUSR1 is forwarded to a master that answers; other signals mean nothing to nginx.
    """
    play = Play()
    play.send(SignalArrived(signal.SIGUSR1))
    assert [] == play.signals(signal.SIGUSR1)

    play.serve(1)
    play.send(SignalArrived(signal.SIGUSR1))
    play.send(SignalArrived(signal.SIGWINCH))
    assert 1 == len(play.signals(signal.SIGUSR1))
    assert [] == play.signals(signal.SIGWINCH)


def test_the_status_is_said_on_request() -> None:
    """
    SIGUSR2 writes one line with everything, with and without a deadline.
    """
    play = Play({"TTL": "1h"}).serve(1)
    play.send(SignalArrived(signal.SIGUSR2))
    fields = play.notes("status")[0].fields
    assert ("up", 1, 3599.0) == (fields["nginx"], fields["endpoints"], fields["remaining"])

    play = Play({"TTL": "never"}).serve(1)
    play.send(SignalArrived(signal.SIGUSR2))
    assert play.notes("status")[0].fields["remaining"] is None


def test_only_the_ways_of_the_table_are_taken() -> None:
    """
    Nothing is looked for that was not swapped in.
    """
    with pytest.raises(AssertionError, match="internal error"):
        reload.enter(reload.Rollout(quiet=0, interval=1), Step.LOOKING)
