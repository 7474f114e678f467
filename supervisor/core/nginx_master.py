"""
The state of the nginx master process: down, booting or up, and its recent crashes.

Theory: a master is up when its generation has responded, not when its process exists; until then it
must not receive a reload signal (SIGHUP in its first 5 ms kills it).  If it crashes, its workers
continue to run, hold the port and serve the old configuration without limit: they receive QUIT, and
a new master is started, at once the first time.  After the fourth crash within a minute the
supervisor gives up.  A master that ends for a restart has not crashed.

A port may be in use for a while: by the nginx of a killed run, or by workers of the master before.
nginx itself tries for 2.5 s; the supervisor waits before that, and starts nginx once it is free.
"""

from dataclasses import replace
from enum import StrEnum

from supervisor.core.model import NEVER
from supervisor.core.values import value_class

#: Crashes within this many seconds count together, and up to this many lead to a respawn.
WINDOW = 60.0
_MAX_CRASHES = 3

#: Seconds between two looks at a port in use, and what is left of START_TIMEOUT for nginx's own
#: tries, which take 2.5 s and then report the reason.
_PORT_INTERVAL = 0.05
_NGINX_TRIES = 3.0

#: How long a new master waits for a port that workers of the last one are about to close.
_PORT_WAIT = 0.5

#: The pause before the first, second and third respawn within the window, in seconds.
_PAUSES = (0.0, 0.3, 1.0)


class MasterState(StrEnum):
    """
    The state of the master process.
    """

    DOWN = "down"
    BOOTING = "booting"
    UP = "up"


#: The permitted changes of state; the diagram in `docs/architecture.md` is generated from this.
CHANGES: dict[MasterState, frozenset[MasterState]] = {
    MasterState.DOWN: frozenset({MasterState.BOOTING}),
    MasterState.BOOTING: frozenset({MasterState.UP, MasterState.DOWN}),
    MasterState.UP: frozenset({MasterState.DOWN}),
}


@value_class(frozen=True, slots=True)
class Master:
    """
    The master process, its crashes, and orphaned workers of crashed masters.

    `pid` is 0 while it is down.  `crashes` are instants on the loop's clock.  `give_up_reason` is
    set when the supervisor has decided to kill this master.  While a port is in use, the next look
    is at `look_again_at`, and after `busy_until` nginx is started even so.
    """

    health: MasterState = MasterState.DOWN
    pid: int = 0
    ever_answered: bool = False
    boot_by: float = NEVER
    respawn_at: float = NEVER
    crashes: tuple[float, ...] = ()
    orphans: frozenset[int] = frozenset()
    seeking_orphans: bool = False
    give_up_reason: str = ""
    look_again_at: float = NEVER
    busy_until: float = NEVER


def enter(master: Master, health: MasterState) -> Master:
    """
    Change the state, as CHANGES permits.
    """
    if health not in CHANGES[master.health]:
        raise AssertionError(
            f"internal error: a master that is {master.health} cannot become {health}"
        )
    return replace(master, health=health)


def spawned(master: Master, pid: int, now: float, start_timeout: float) -> Master:
    """
    Record a started master process; it has `start_timeout` seconds to respond.
    """
    return replace(
        enter(master, MasterState.BOOTING),
        pid=pid,
        boot_by=now + start_timeout,
        respawn_at=NEVER,
        give_up_reason="",
        look_again_at=NEVER,
        busy_until=NEVER,
    )


def port_busy(master: Master, now: float, start_timeout: float) -> Master:
    """
    Record that a port is in use: the start waits, START_TIMEOUT in total for the first one.
    """
    wait = _PORT_WAIT if master.ever_answered else max(0.0, start_timeout - _NGINX_TRIES)
    return replace(
        master,
        look_again_at=now + _PORT_INTERVAL,
        busy_until=now + wait if master.busy_until == NEVER else master.busy_until,
    )


def answered(master: Master) -> Master:
    """
    Record that the master's workers respond.
    """
    return replace(enter(master, MasterState.UP), boot_by=NEVER, ever_answered=True)


def exited(master: Master, now: float) -> Master:
    """
    Record an unexpected exit and schedule the next master; see `is_crash_looping`.
    """
    crashes = (*(at for at in master.crashes if at > now - WINDOW), now)
    pause = _PAUSES[min(len(crashes), len(_PAUSES)) - 1]
    down = master if master.health is MasterState.DOWN else enter(master, MasterState.DOWN)
    return replace(down, pid=0, boot_by=NEVER, respawn_at=now + pause, crashes=crashes)


def ended_for_restart(master: Master) -> Master:
    """
    Record the requested exit of a master that another one follows at once.
    """
    return replace(enter(master, MasterState.DOWN), pid=0)


def died_lately(master: Master, now: float) -> bool:
    """
    Return whether a master has crashed within the window.
    """
    return any(at > now - WINDOW for at in master.crashes)


def is_crash_looping(master: Master) -> bool:
    """
    Return whether the master has crashed too often to start another one.
    """
    return len(master.crashes) > _MAX_CRASHES


def orphans_found(master: Master, pids: frozenset[int]) -> Master:
    """
    Record the workers of a dead master.
    """
    return replace(master, orphans=master.orphans | pids, seeking_orphans=False)


def orphan_exited(master: Master, pid: int) -> Master:
    """
    Record the exit of a process that may be an orphaned worker.
    """
    return replace(master, orphans=master.orphans - {pid})
