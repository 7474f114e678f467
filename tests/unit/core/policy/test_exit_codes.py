"""
The exit code when nginx exits unexpectedly.
"""

from collections.abc import Iterable

from supervisor.core.commands import SpawnMaster
from supervisor.core.events import ChildExited, OrphansFound
from supervisor.core.model import ChildKind
from tests.support.policy_simulation import Simulation

CODES = range(256)


def exit_master(sim: Simulation, code: int) -> None:
    """
    Make the running master exit with a code, together with its workers.
    """
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, code, f"exited with {code}"))
    sim.send(OrphansFound(frozenset()))


def exit_of(sim: Simulation) -> tuple[int, object]:
    """
    Return the exit code and the last output of nginx.
    """
    assert sim.exit is not None
    return sim.exit.code, sim.exit.fields["message"]


def after_exits(codes: Iterable[int], interval: float = 2.0) -> Simulation:
    """
    Make a ready master and its successors exit with these codes, `interval` seconds apart.
    """
    sim = Simulation().serve(1)
    for code in codes:
        exit_master(sim, code)
        sim.run(interval)
    return sim


def test_P02_the_last_code_is_the_exit_code() -> None:
    """
    The code of the fourth exit is the program's, for each of the 256 codes; code 0 becomes 70.
    """
    found = {}
    for code in CODES:
        sim = after_exits([code] * 3)
        assert sim.exit is None
        exit_master(sim, code)
        found[code] = exit_of(sim)
        assert 4 == len(sim.commands(SpawnMaster))

    assert {code: (code or 70, f"exited with {code}") for code in CODES} == found


def test_P02_before_the_first_answer_every_code_is_69() -> None:
    """
    If nginx exits before it ever answered, the code is 69, for each of the 256 codes.
    """
    found = {}
    for code in CODES:
        sim = Simulation()
        sim.system.nginx_responds = False
        sim.serve(1)
        exit_master(sim, code)
        found[code] = exit_of(sim)
        assert 1 == len(sim.commands(SpawnMaster))

    assert {code: (69, f"exited with {code}") for code in CODES} == found


def test_P02_the_last_of_different_codes_counts() -> None:
    """
    If nginx exits with different codes, the last one counts.
    """
    sim = after_exits([1, 255, 0, 7])

    assert sim.exit is not None
    assert 7 == sim.exit.code


def test_P03_a_death_by_a_signal_is_128_and_the_signal() -> None:
    """
    The code of a reaped child includes the 128 already and is not changed.
    """
    for code in (137, 139, 143):
        sim = after_exits([code] * 4)

        assert sim.exit is not None
        assert code == sim.exit.code


def test_P11_fewer_than_four_deaths_a_minute_never_end_the_program() -> None:
    """
    Only four deaths within 60 s end the program: one every 20.5 s never does.
    """
    assert after_exits([137] * 30, interval=20.5).exit is None
    assert after_exits([137] * 4, interval=19.5).exit is not None
