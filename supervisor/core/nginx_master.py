"""
The nginx master as a child: is it down, booting or up, and how often has it died.

Theory: a master counts as up when its generation has answered, not when its process exists; until
then no reload signal may reach it (SIGHUP in its first 5 ms kills it).  When it dies, its workers
live on, hold the port and serve the old configuration for ever: they are told to QUIT, and a new
master is started, at once the first time.  The fourth death within a minute is given up on.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.model import NEVER

#: Deaths within this many seconds count together, and this many of them are forgiven.
WINDOW = 60.0
FORGIVEN = 3

#: How long to wait before the first, second and third respawn within the window, in seconds.
_PAUSES = (0.0, 0.3, 1.0)


class MasterState(StrEnum):
    """
    What the master is doing.
    """

    DOWN = "down"
    BOOTING = "booting"
    UP = "up"


#: The only ways from one health to another; `docs/architecture.md` draws its diagram from this.
CHANGES: dict[MasterState, frozenset[MasterState]] = {
    MasterState.DOWN: frozenset({MasterState.BOOTING}),
    MasterState.BOOTING: frozenset({MasterState.UP, MasterState.DOWN}),
    MasterState.UP: frozenset({MasterState.DOWN}),
}


@dataclass(frozen=True, slots=True)
class Master:
    """
    The master's process, its deaths, and the workers that outlived one.

    `pid` is 0 while it is down.  `crashes` are instants on the loop's clock.
    """

    health: MasterState = MasterState.DOWN
    pid: int = 0
    ever_answered: bool = False
    boot_by: float = NEVER
    respawn_at: float = NEVER
    crashes: tuple[float, ...] = ()
    orphans: frozenset[int] = frozenset()
    seeking_orphans: bool = False
    given_up: str = ""


def enter(master: Master, health: MasterState) -> Master:
    """
    Change the health, along the table only.
    """
    if health not in CHANGES[master.health]:
        raise AssertionError(
            f"internal error: a master that is {master.health} cannot become {health}"
        )
    return replace(master, health=health)


def spawned(master: Master, pid: int, now: float, patience: float) -> Master:
    """
    Note that a master process exists; it has `patience` seconds to answer.
    """
    return replace(
        enter(master, MasterState.BOOTING),
        pid=pid,
        boot_by=now + patience,
        respawn_at=NEVER,
        given_up="",
    )


def answered(master: Master) -> Master:
    """
    Note that the master's workers answer.
    """
    return replace(enter(master, MasterState.UP), boot_by=NEVER, ever_answered=True)


def died(master: Master, now: float) -> Master:
    """
    Note a death, and when to start the next master; `is_hopeless` tells whether to.
    """
    crashes = (*(at for at in master.crashes if at > now - WINDOW), now)
    pause = _PAUSES[min(len(crashes), len(_PAUSES)) - 1]
    down = master if master.health is MasterState.DOWN else enter(master, MasterState.DOWN)
    return replace(down, pid=0, boot_by=NEVER, respawn_at=now + pause, crashes=crashes)


def is_hopeless(master: Master) -> bool:
    """
    Tell whether the master has died too often to try again.
    """
    return len(master.crashes) > FORGIVEN


def orphaned(master: Master, pids: frozenset[int]) -> Master:
    """
    Note the workers that a dead master left behind.
    """
    return replace(master, orphans=master.orphans | pids, seeking_orphans=False)


def buried(master: Master, pid: int) -> Master:
    """
    Note that a process ended which may have been an orphaned worker.
    """
    return replace(master, orphans=master.orphans - {pid})
