from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.discovery.query_schedule import QuerySchedule, on_failure, on_response, on_start

MIN_INTERVAL = 0.02

#: The outcome of one query: its duration, and a response or a failure.
INDEXES = st.none() | st.integers(-5, 5) | st.integers(0, 2**64)
RESPONSES = st.fixed_dictionaries(
    {
        "duration": st.floats(0, 40),
        "index": INDEXES,
        "is_changed": st.booleans(),
        "is_empty": st.booleans(),
    }
)
FAILURES = st.fixed_dictionaries(
    {
        "duration": st.floats(0, 40),
        "refused": st.booleans(),
        "retry_after": st.none() | st.integers(0, 10**8).map(float),
        "chance": st.floats(0, 0.999),
    }
)


@dataclass
class Client:
    """
    A client that follows a schedule; it records its queries, their times, and what was confirmed.
    """

    schedule: QuerySchedule = field(default_factory=QuerySchedule)
    now: float = 100.0
    started_at: list[float] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    confirmed: list[bool] = field(default_factory=list)

    def step(self, outcome: dict[str, object]) -> None:
        """
        Query once, process the outcome, and wait as scheduled.
        """
        outcome = dict(outcome)
        self.schedule = on_start(self.schedule, self.now)
        self.started_at.append(self.now)
        self.indexes.append(self.schedule.index)
        self.now += float(str(outcome.pop("duration")))
        if "is_changed" in outcome:
            self.schedule, pause, confirmed = on_response(self.schedule, now=self.now, **outcome)  # type: ignore[arg-type]
            self.confirmed.append(confirmed)
        else:
            self.schedule, pause = on_failure(self.schedule, now=self.now, **outcome)  # type: ignore[arg-type]
            self.confirmed.append(False)
        self.pauses.append(pause)
        self.now += pause


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(RESPONSES | FAILURES, min_size=2, max_size=40))
def test_it_is_never_busy(outcomes: list[dict[str, object]]) -> None:
    """
    After any outcomes, however fast: two queries never start closer than the minimum interval, no
    pause is negative, and none is longer than a minute.
    """
    client = Client()
    for outcome in outcomes:
        client.step(outcome)
    gaps = [
        later - earlier
        for earlier, later in zip(client.started_at, client.started_at[1:], strict=False)
    ]
    assert min(gaps) >= MIN_INTERVAL - 1e-6
    assert all(0 <= pause <= 60 for pause in client.pauses)


@hypothesis(max_examples=40, deadline=None)
@given(
    st.lists(
        RESPONSES.map(lambda a: {**a, "duration": 0.0, "is_changed": False}),
        min_size=30,
        max_size=60,
    )
)
def test_without_changes_it_queries_at_most_twice_a_second(
    outcomes: list[dict[str, object]],
) -> None:
    """
    Immediate responses without a change, under any index, use up a credit of four; beyond it two
    queries a second are the maximum, over any period.
    """
    client = Client()
    for outcome in outcomes:
        client.step({**outcome, "is_empty": False})
    for first, start in enumerate(client.started_at):
        for number, at in enumerate(client.started_at[first:]):
            assert number <= 5 + 2 * (at - start)


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(RESPONSES | FAILURES, min_size=1, max_size=40))
def test_an_index_is_dropped_only_for_a_reason(outcomes: list[dict[str, object]]) -> None:
    """
    The next query has the index of the last response, unless that was unusable, went back, failed,
    or was empty and unconfirmed: then it has none.
    """
    client = Client()
    for outcome in outcomes:
        before = client.schedule
        client.step(outcome)
        index = outcome.get("index")
        confirming = client.schedule.confirming_empty
        usable = isinstance(index, int) and index >= max(1, before.index)
        expected = index if "is_changed" in outcome and usable and not confirming else 0
        assert expected == client.schedule.index
        assert client.schedule.index < 1 or client.schedule.index >= before.index


@hypothesis(max_examples=100, deadline=None)
@given(st.lists(RESPONSES | FAILURES, min_size=1, max_size=40))
def test_empty_is_accepted_only_after_a_second_empty_response(
    outcomes: list[dict[str, object]],
) -> None:
    """
    An empty response is confirmed only if the previous one was empty too and started at least a
    second earlier, or empty is the accepted state already; any other response is confirmed at once.
    """
    client, is_empty = Client(), False
    for number, outcome in enumerate(outcomes):
        client.step(outcome)
        if "is_changed" not in outcome:
            continue
        if not outcome["is_empty"]:
            assert client.confirmed[-1]
            is_empty = False
        elif client.confirmed[-1] and not is_empty:
            previous = outcomes[number - 1]
            assert number
            assert previous.get("is_empty")
            assert client.started_at[-1] - client.started_at[-2] >= 1.0
            is_empty = True


@given(st.floats(0, 0.999), st.booleans(), st.integers(0, 200))
def test_back_off_grows_has_jitter_and_a_cap(chance: float, refused: bool, number: int) -> None:  # noqa: FBT001
    """
    Pauses double from 0.1 s, are shortened at random to half at most, and end at 2 s when refused,
    at 5 s otherwise.
    """
    cap = 2.0 if refused else 5.0
    longest = min(cap, 0.1 * 2.0 ** min(number, 16))
    schedule = QuerySchedule(failures=number, index=9)
    following, pause = on_failure(
        schedule, refused=refused, retry_after=None, chance=chance, now=0.0
    )
    assert longest / 2 <= pause <= longest
    assert (0, number + 1) == (following.index, following.failures)


@given(st.lists(FAILURES, min_size=2, max_size=40))
def test_a_registry_that_recovers_is_queried_soon(outcomes: list[dict[str, object]]) -> None:
    """
    Without Retry-After, a query starts 2 s after the start of a refused one, 5 s after any other,
    or at once if that one took longer.
    """
    client = Client()
    for outcome in outcomes:
        client.step({**outcome, "retry_after": None})
    gaps = [
        later - earlier
        for earlier, later in zip(client.started_at, client.started_at[1:], strict=False)
    ]
    for outcome, gap in zip(outcomes, gaps, strict=False):
        longest = 2.0 if outcome["refused"] else 5.0
        assert gap <= max(longest, float(str(outcome["duration"]))) + 1e-6
