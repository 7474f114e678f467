"""
With which code the program ends when nginx ends by itself, as histories.
"""

from collections.abc import Iterable

from supervisor.core.commands import SpawnMaster
from supervisor.core.events import ChildExited, OrphansFound
from supervisor.core.model import ChildKind
from tests.support.play import Play

CODES = range(256)


def dies(play: Play, code: int) -> None:
    """
    Let the running master end with a code, its workers going with it.
    """
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, code, f"went with {code}"))
    play.send(OrphansFound(frozenset()))


def exit_of(play: Play) -> tuple[int, object]:
    """
    Return the code it left with, and what nginx said last.
    """
    assert play.exit is not None
    return play.exit.code, play.exit.fields["message"]


def left_with(codes: Iterable[int], calm: float = 2.0) -> Play:
    """
    Let a master that answered end with these codes, and its successors after some calm.
    """
    play = Play().serve(1)
    for code in codes:
        dies(play, code)
        play.run(calm)
    return play


def test_P02_the_last_code_is_the_program_s() -> None:
    """
    Three ends are forgiven, the fourth one's code is the program's, for each of the 256 codes; a
    claimed success is 70.
    """
    left = {}
    for code in CODES:
        play = left_with([code] * 3)
        assert play.exit is None
        dies(play, code)
        left[code] = exit_of(play)
        assert 4 == len(play.all(SpawnMaster))

    assert {code: (code or 70, f"went with {code}") for code in CODES} == left


def test_P02_before_the_first_answer_every_code_is_69() -> None:
    """
    An nginx that ends before it ever answered is unavailable, with whichever of the 256 codes.
    """
    left = {}
    for code in CODES:
        play = Play()
        play.world.answers = False
        play.serve(1)
        dies(play, code)
        left[code] = exit_of(play)
        assert 1 == len(play.all(SpawnMaster))

    assert {code: (69, f"went with {code}") for code in CODES} == left


def test_P02_the_last_of_different_codes_counts() -> None:
    """
    Where nginx ends in several ways, the program ends as nginx did last.
    """
    play = left_with([1, 255, 0, 7])

    assert play.exit is not None
    assert 7 == play.exit.code


def test_P03_a_death_by_a_signal_is_128_and_the_signal() -> None:
    """
    A reaped child comes with 128 and the signal already, and nothing is added to it.
    """
    for code in (137, 139, 143):
        play = left_with([code] * 4)

        assert play.exit is not None
        assert code == play.exit.code


def test_P11_deaths_that_are_a_minute_apart_are_forgiven_for_ever() -> None:
    """
    Only four deaths within 60 s are too many: one every 20 s and a bit never ends the program.
    """
    assert left_with([137] * 30, calm=20.5).exit is None
    assert left_with([137] * 4, calm=19.5).exit is not None
