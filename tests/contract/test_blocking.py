"""
What a query with an index gets: when it waits, what ends the wait, and what that proves.
"""

from tests.support.nomad_api import Api, Asked, index_of, rows_of


def test_it_blocks_until_the_change(api: Api, web: str) -> None:
    """
    A change of the service answers a waiting query.
    """
    api.offer(web)
    asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
    assert asked.blocks()

    api.offer(web, 2)

    assert 2 == len(rows_of(asked.result(2)))


def test_an_old_index_is_answered_at_once(api: Api, web: str) -> None:
    """
    A query from before the last change does not wait.
    """
    before = index_of(api.ask(web))
    api.offer(web)

    asked = Asked(api, web, index=before, wait="60s")

    assert 1 == len(rows_of(asked.result(2)))


def test_the_wait_runs_out(api: Api, web: str) -> None:
    """
    With no change the same answer comes after the wait and at most a sixteenth more.
    """
    api.offer(web)
    index = index_of(api.ask(web))

    asked = Asked(api, web, index=index, wait="1600ms")
    answer = asked.result()

    assert (1, index) == (len(rows_of(answer)), index_of(answer))
    assert 1.6 <= asked.took < 1.7 + 0.5


def test_an_index_to_come(api: Api, web: str) -> None:
    """
    An index that was never reached is waited for, and a lower one comes back.
    """
    api.offer(web)

    asked = Asked(api, web, index=999_999, wait="1s")
    answer = asked.result()

    assert index_of(answer) < 999_999
    assert asked.took >= 1.0


def test_a_missing_service_blocks(api: Api, web: str) -> None:
    """
    Nothing there is no reason to answer at once; the first instance is.
    """
    asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
    assert asked.blocks()

    api.offer(web)

    assert 1 == len(rows_of(asked.result(2)))


def test_a_change_elsewhere_does_not_wake(api: Api, web: str) -> None:
    """
    With instances of its own a query sleeps through another service's change.
    """
    api.offer(web)
    before = index_of(api.ask(web))
    asked = Asked(api, web, index=before, wait="2s")
    assert asked.blocks(0.1)

    api.offer(f"other-{web}")
    answer = asked.result()

    assert asked.took >= 2.0
    assert (1, before) == (len(rows_of(answer)), index_of(answer))


def test_a_change_elsewhere_is_seen_by_the_next_query(api: Api, web: str) -> None:
    """
    The index belongs to the table: the next query returns at once with nothing new.
    """
    api.offer(web)
    before = api.ask(web)
    api.offer(f"other-{web}")

    asked = Asked(api, web, index=index_of(before), wait="60s")
    answer = asked.result(2)

    assert before.body == answer.body
    assert index_of(answer) > index_of(before)


def test_a_change_elsewhere_wakes_an_empty_service(api: Api, web: str) -> None:
    """
    With no instance a change elsewhere can answer the query: that of a name like it does.
    """
    asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
    assert asked.blocks()

    api.offer(f"{web}-other")

    assert 0 == len(rows_of(asked.result(2)))


def test_the_socket_blocks_too(api: Api, web: str) -> None:
    """
    A query waits on the Task API as it does over TCP.
    """
    api.offer(web)
    asked = Asked(api, web, on=api.socket, index=index_of(api.ask(web)), wait="60s")
    assert asked.blocks()

    api.offer(web, 2)

    assert 2 == len(rows_of(asked.result(2)))


def test_without_an_index_nothing_waits(api: Api, web: str) -> None:
    """
    A wait alone, or an index of 0, is no reason to wait.
    """
    for index in ({}, {"index": 0}):
        assert [] == rows_of(Asked(api, web, wait="60s", **index).result(2))


def test_a_smaller_service_is_a_change(api: Api, web: str) -> None:
    """
    An instance that leaves answers the query, under a higher index.
    """
    api.offer(web, 2)
    before = index_of(api.ask(web))
    asked = Asked(api, web, index=before, wait="60s")
    assert asked.blocks()

    api.offer(web, 1)
    answer = asked.result(2)

    assert 1 == len(rows_of(answer))
    assert index_of(answer) > before
