from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.discovery.query_schedule import QuerySchedule, answered, asking, failed

FLOOR = 0.02

#: What one query leads to: how long it took, and an answer or a failure.
INDEXES = st.none() | st.integers(-5, 5) | st.integers(0, 2**64)
ANSWERS = st.fixed_dictionaries(
    {
        "took": st.floats(0, 40),
        "index": INDEXES,
        "is_news": st.booleans(),
        "is_empty": st.booleans(),
    }
)
FAILURES = st.fixed_dictionaries(
    {
        "took": st.floats(0, 40),
        "refused": st.booleans(),
        "retry_after": st.none() | st.integers(0, 10**8).map(float),
        "chance": st.floats(0, 0.999),
    }
)


@dataclass
class Asked:
    """
    One client that follows a cursor: what it asked, when, and what it believed.
    """

    place: QuerySchedule = field(default_factory=QuerySchedule)
    now: float = 100.0
    at: list[float] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    confirmed: list[bool] = field(default_factory=list)

    def step(self, outcome: dict[str, object]) -> None:
        """
        Ask once, take what comes, and wait as told.
        """
        outcome = dict(outcome)
        self.place = asking(self.place, self.now)
        self.at.append(self.now)
        self.indexes.append(self.place.index)
        self.now += float(str(outcome.pop("took")))
        if "is_news" in outcome:
            self.place, pause, confirmed = answered(self.place, now=self.now, **outcome)  # type: ignore[arg-type]
            self.confirmed.append(confirmed)
        else:
            self.place, pause = failed(self.place, now=self.now, **outcome)  # type: ignore[arg-type]
            self.confirmed.append(False)
        self.pauses.append(pause)
        self.now += pause


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(ANSWERS | FAILURES, min_size=2, max_size=40))
def test_it_is_never_busy(outcomes: list[dict[str, object]]) -> None:
    """
    Whatever comes, however fast: two queries never start closer than the floor, no pause is
    negative, and none is longer than a minute.
    """
    asked = Asked()
    for outcome in outcomes:
        asked.step(outcome)
    gaps = [later - earlier for earlier, later in zip(asked.at, asked.at[1:], strict=False)]
    assert min(gaps) >= FLOOR - 1e-6
    assert all(0 <= pause <= 60 for pause in asked.pauses)


@hypothesis(max_examples=40, deadline=None)
@given(
    st.lists(ANSWERS.map(lambda a: {**a, "took": 0.0, "is_news": False}), min_size=30, max_size=60)
)
def test_without_news_it_asks_at_most_twice_a_second(outcomes: list[dict[str, object]]) -> None:
    """
    Answers at once and without news, under whatever index, use a credit of four up; beyond it two
    queries a second are the most, over any span of time.
    """
    asked = Asked()
    for outcome in outcomes:
        asked.step({**outcome, "is_empty": False})
    for first, began in enumerate(asked.at):
        for number, at in enumerate(asked.at[first:]):
            assert number <= 5 + 2 * (at - began)


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(ANSWERS | FAILURES, min_size=1, max_size=40))
def test_an_index_is_dropped_for_a_reason_only(outcomes: list[dict[str, object]]) -> None:
    """
    The next query carries the index of the last answer, unless that was none, went back, failed,
    or was an empty one to be asked again: those ask from the beginning.
    """
    asked = Asked()
    for outcome in outcomes:
        before = asked.place
        asked.step(outcome)
        index = outcome.get("index")
        doubted = asked.place.doubts
        usable = isinstance(index, int) and index >= max(1, before.index)
        expected = index if "is_news" in outcome and usable and not doubted else 0
        assert expected == asked.place.index
        assert asked.place.index < 1 or asked.place.index >= before.index


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(ANSWERS | FAILURES, min_size=1, max_size=40))
def test_empty_is_believed_only_when_a_second_answer_agrees(
    outcomes: list[dict[str, object]],
) -> None:
    """
    An empty answer is certain only if the answer just before it was empty too and asked at least a
    second earlier, or emptiness is what is believed already; a fuller answer is certain at once.
    """
    asked, believes = Asked(), False
    for number, outcome in enumerate(outcomes):
        asked.step(outcome)
        if "is_news" not in outcome:
            continue
        if not outcome["is_empty"]:
            assert asked.confirmed[-1]
            believes = False
        elif asked.confirmed[-1] and not believes:
            previous = outcomes[number - 1]
            assert number
            assert previous.get("is_empty")
            assert asked.at[-1] - asked.at[-2] >= 1.0
            believes = True


@given(st.floats(0, 0.999), st.booleans(), st.integers(0, 200))
def test_back_off_grows_has_jitter_and_a_cap(chance: float, refused: bool, number: int) -> None:  # noqa: FBT001
    """
    Pauses double from 0.1 s, are cut by chance to half at most, and end at 2 s when refused, at 5 s
    otherwise.
    """
    cap = 2.0 if refused else 5.0
    longest = min(cap, 0.1 * 2.0 ** min(number, 16))
    place = QuerySchedule(failures=number, index=9)
    following, pause = failed(place, refused=refused, retry_after=None, chance=chance, now=0.0)
    assert longest / 2 <= pause <= longest
    assert (0, number + 1) == (following.index, following.failures)


@given(st.lists(FAILURES, min_size=2, max_size=40))
def test_a_registry_that_comes_back_is_asked_soon(outcomes: list[dict[str, object]]) -> None:
    """
    Unless it said when to come back, a query follows 2 s after one that was refused began, 5 s
    after any other, or at once where that one took longer.
    """
    asked = Asked()
    for outcome in outcomes:
        asked.step({**outcome, "retry_after": None})
    gaps = [later - earlier for earlier, later in zip(asked.at, asked.at[1:], strict=False)]
    for outcome, gap in zip(outcomes, gaps, strict=False):
        longest = 2.0 if outcome["refused"] else 5.0
        assert gap <= max(longest, float(str(outcome["took"]))) + 1e-6
