"""
Variables: the job's own one, as the deadline of the whole job.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.client import Answer
from tests.support.nomad_api import Api, index_of
from tests.support.nomad_backends import CLIENT_JOB
from tests.support.nomad_params import with_acl

PATH = f"nomad/jobs/{CLIENT_JOB}"


@pytest.fixture(autouse=True)
def absent(api: Api) -> Iterator[None]:
    """
    Without the variable and without a policy, before and after each test.
    """
    yield
    api.backend.purge_variable(PATH)
    if api.acl:
        api.backend.grant("read-job")
        api.backend.revoke()


def read(api: Api, **query: object) -> Answer:
    """
    Read the job's variable as the workload, over the socket.
    """
    params = "&".join(f"{name}={value}" for name, value in query.items())
    return api.call(f"/v1/var/{PATH}?{params}", on=api.socket)


def write(api: Api, cas: object = 0, **items: str) -> Answer:
    """
    Write it as the workload.
    """
    body = json.dumps({"Namespace": "default", "Path": PATH, "Items": items}).encode()
    return api.call(f"/v1/var/{PATH}?cas={cas}", method="PUT", on=api.socket, body=body)


def test_an_absent_one_is_404_with_an_index(api: Api) -> None:
    """
    A query with that index returns when the variable is created, and also after the write of
    another one: then it is 404 again.
    """
    api.backend.put_variable("nomad/jobs/other", a="1")
    answer = read(api)
    assert (404, "variable not found") == (answer.status, answer.text)

    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(read, api, index=index_of(answer), wait="10s")
        time.sleep(0.3)
        assert not blocked.done()
        api.backend.put_variable("nomad/jobs/other", a="2")
        woken = blocked.result(5)
        assert woken.status == 404
        assert index_of(woken) > index_of(answer)
        blocked = pool.submit(read, api, index=index_of(woken), wait="10s")
        time.sleep(0.3)
        api.backend.put_variable(PATH, deadline="x")
        assert blocked.result(5).status == 200


def test_one_that_exists_is_woken_by_its_own_changes(api: Api) -> None:
    """
    The index is that of its last write; its removal is a change, too.
    """
    api.backend.put_variable(PATH, deadline="x")
    answer = read(api)
    found = json.loads(answer.body)
    assert {"deadline": "x"} == found["Items"]
    assert index_of(answer) == found["ModifyIndex"]
    assert abs(time.time() - found["ModifyTime"] / 1e9) < 5

    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(read, api, index=index_of(answer), wait="10s")
        time.sleep(0.3)
        api.backend.put_variable("nomad/jobs/other", a="3")
        time.sleep(0.3)
        assert not blocked.done()
        api.backend.purge_variable(PATH)
        gone = blocked.result(5)

    assert gone.status == 404
    assert index_of(gone) > index_of(answer)


@with_acl
def test_a_workload_reads_its_own_job_only(api: Api) -> None:
    """
    Another job's variable is a 403, and so is writing the own one.
    """
    other = api.call("/v1/var/nomad/jobs/other", on=api.socket)
    denied = write(api, deadline="x")

    assert [(403, "Permission denied")] * 2 == [(a.status, a.text) for a in (other, denied)]


@with_acl
def test_the_documented_policy_permits_to_write(api: Api) -> None:
    """
    With check-and-set: 409 unless the index is that of the variable; reading still works.
    """
    api.backend.grant_variable(PATH)
    created = write(api, deadline="1")
    index = json.loads(created.body)["ModifyIndex"]

    assert [200, 409, 200] == [
        created.status,
        write(api, deadline="2").status,
        write(api, index, deadline="3").status,
    ]
    assert {"deadline": "3"} == json.loads(read(api).body)["Items"]


def test_a_write_without_a_body(api: Api) -> None:
    """
    It is refused before the permission is checked.
    """
    answer = api.call(f"/v1/var/{PATH}?cas=0", method="PUT", on=api.socket)

    assert (400, "Request body is empty") == (answer.status, answer.text)
