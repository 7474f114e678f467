"""
Queries with an index: when they block, and what ends the wait.
"""

from tests.support.nomad_api import Api, BlockingQuery, index_of, rows_of


def test_a_query_blocks_until_the_change(api: Api, web: str) -> None:
    """
    A change of the service ends a blocked query.
    """
    api.register(web)
    query = BlockingQuery(api, web, index=index_of(api.get_service(web)), wait="60s")
    assert query.is_blocked()

    api.register(web, 2)

    assert 2 == len(rows_of(query.result(2)))


def test_a_query_with_an_old_index_returns_at_once(api: Api, web: str) -> None:
    """
    A query with an index from before the last change does not block.
    """
    before = index_of(api.get_service(web))
    api.register(web)

    query = BlockingQuery(api, web, index=before, wait="60s")

    assert 1 == len(rows_of(query.result(2)))


def test_a_query_returns_after_its_wait(api: Api, web: str) -> None:
    """
    Without a change the same response arrives after the wait and at most a sixteenth more.
    """
    api.register(web)
    index = index_of(api.get_service(web))

    query = BlockingQuery(api, web, index=index, wait="1600ms")
    answer = query.result()

    assert (1, index) == (len(rows_of(answer)), index_of(answer))
    assert 1.6 <= query.duration < 1.7 + 0.5


def test_a_query_with_a_future_index_blocks(api: Api, web: str) -> None:
    """
    A query with an index higher than the current one blocks, and returns the lower one.
    """
    api.register(web)

    query = BlockingQuery(api, web, index=999_999, wait="1s")
    answer = query.result()

    assert index_of(answer) < 999_999
    assert query.duration >= 1.0


def test_a_query_of_a_missing_service_blocks(api: Api, web: str) -> None:
    """
    A service without instances does not end the query; the first instance does.
    """
    query = BlockingQuery(api, web, index=index_of(api.get_service(web)), wait="60s")
    assert query.is_blocked()

    api.register(web)

    assert 1 == len(rows_of(query.result(2)))


def test_a_change_elsewhere_does_not_wake(api: Api, web: str) -> None:
    """
    A query of a service with instances is not ended by a change of another service.
    """
    api.register(web)
    before = index_of(api.get_service(web))
    query = BlockingQuery(api, web, index=before, wait="2s")
    assert query.is_blocked(0.1)

    api.register(f"other-{web}")
    answer = query.result()

    assert query.duration >= 2.0
    assert (1, before) == (len(rows_of(answer)), index_of(answer))


def test_a_change_elsewhere_is_seen_by_the_next_query(api: Api, web: str) -> None:
    """
    The index belongs to the table: the next query returns at once without a change.
    """
    api.register(web)
    before = api.get_service(web)
    api.register(f"other-{web}")

    query = BlockingQuery(api, web, index=index_of(before), wait="60s")
    answer = query.result(2)

    assert before.body == answer.body
    assert index_of(answer) > index_of(before)


def test_a_change_elsewhere_wakes_an_empty_service(api: Api, web: str) -> None:
    """
    A query of a service without instances ends when a service with a similar name changes.
    """
    query = BlockingQuery(api, web, index=index_of(api.get_service(web)), wait="60s")
    assert query.is_blocked()

    api.register(f"{web}-other")

    assert 0 == len(rows_of(query.result(2)))


def test_a_query_on_the_socket_blocks(api: Api, web: str) -> None:
    """
    A query blocks on the Task API as over TCP.
    """
    api.register(web)
    query = BlockingQuery(api, web, on=api.socket, index=index_of(api.get_service(web)), wait="60s")
    assert query.is_blocked()

    api.register(web, 2)

    assert 2 == len(rows_of(query.result(2)))


def test_a_query_without_an_index_does_not_block(api: Api, web: str) -> None:
    """
    A query with a wait but without an index, or with index 0, returns at once.
    """
    for index in ({}, {"index": 0}):
        assert [] == rows_of(BlockingQuery(api, web, wait="60s", **index).result(2))


def test_a_smaller_service_is_a_change(api: Api, web: str) -> None:
    """
    The removal of an instance ends the query, with a higher index.
    """
    api.register(web, 2)
    before = index_of(api.get_service(web))
    query = BlockingQuery(api, web, index=before, wait="60s")
    assert query.is_blocked()

    api.register(web, 1)
    answer = query.result(2)

    assert 1 == len(rows_of(answer))
    assert index_of(answer) > before
