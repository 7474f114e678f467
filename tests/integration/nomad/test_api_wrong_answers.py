import json
from collections.abc import Callable

import pytest

from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.live_files import all_workers, live_files
from tests.support.nomad_faults import (
    GARBAGE,
    Fault,
    body,
    raw,
    status,
    too_many,
)
from tests.support.nomad_registry import row
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

#: The fault, and a part of its reason.
REFUSALS: dict[str, tuple[Fault, str]] = {
    "500": (status(500, "No cluster leader"), "500"),
    "502": (status(502, "<html>"), "502"),
    "403": (status(403, "Permission denied"), "403"),
    "401": (status(401, "Unauthorized"), "401"),
    "404": (status(404, ""), "404"),
    "400": (status(400, "Invalid index"), "400"),
    "429": (too_many(), "429"),
    "204": (status(204), "204"),
    "304": (status(304), "304"),
}


def test_A04_an_error_status_changes_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    500, 403, 404, 429 and others change neither endpoints, files nor nginx; the reason contains the
    status, never the token or the body, the next query has no index, and the next correct response
    is used.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one, NOMAD_TOKEN=TOKEN)
    before, workers = live_files(subject), all_workers(subject)
    for number, (fault, reason) in enumerate(REFUSALS.values(), 1):
        nomad.fault(fault, times=2)
        eventually(lambda n=number: len(subject.log_lines("discovery.recovered")) >= n, 5)
        assert reason in subject.log_lines("discovery.failed")[-1]["reason"]
        eventually(lambda: nomad.blocked, 5)
        assert "index" not in nomad.requests[-2].query, "no index after a failure"
    assert 2 * len(REFUSALS) == len(subject.log_lines("discovery.failed"))
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert "one" == subject.get().text
    assert TOKEN not in subject.recent_output

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)


def test_A04_a_retry_after_is_followed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    After a 429 with Retry-After there is no query before that time, and one soon after.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one)
    nomad.fault(too_many("3"), times=1)
    line = subject.wait_for_log("discovery.failed")
    assert 3.0 == line["retry_in"]
    refused_at, count = nomad.requests[-1].at, len(nomad.requests)
    eventually(lambda: len(nomad.requests) > count, 8)
    assert 2.95 <= nomad.requests[count].at - refused_at < 5
    assert "one" == subject.get().text


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_A04_a_redirect_is_not_followed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, code: int
) -> None:
    """
    A redirect is an error, even with a list in its body: the other server gets no request, so no
    token, and the endpoints of neither are used.
    """
    one, two = replicas("one", "two")
    with FakeNomad() as other:
        other.set("web", [two.endpoint])
        subject = start_serving(supervise, one, NOMAD_TOKEN=TOKEN)
        assert TOKEN == nomad.requests[-1].headers["X-Nomad-Token"]
        elsewhere = {"Location": f"{other.address}/v1/service/web"}
        nomad.fault(status(code, json.dumps([row("web", *two.endpoint)]), elsewhere), times=3)
        subject.wait_for_log("discovery.recovered")
        assert 3 == len(subject.log_lines("discovery.failed"))
        assert [] == other.requests
    assert "one" == subject.get().text
    assert 1 == len(subject.log_lines("reload.applied"))


def test_A05_garbage_changes_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A body that is empty, null, no list, not JSON, very deep or full of wrong types is an error: the
    last endpoints serve, no file is written, and the next correct response is used.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    before, workers = live_files(subject), all_workers(subject)
    for number, (kind, garbage) in enumerate(GARBAGE.items(), 1):
        nomad.fault(body(garbage), times=1)
        eventually(
            lambda n=number: len(subject.log_lines("discovery.recovered")) >= n,
            5,
            what=f"an error for {kind}",
        )
        assert "internal error" not in subject.log_lines("discovery.failed")[-1]["reason"], kind
        eventually(lambda: nomad.blocked, 5)
    assert len(GARBAGE) == len(subject.log_lines("discovery.failed"))
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert 1 == len(subject.log_lines("reload.applied"))
    assert "one" == subject.get().text

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)


@pytest.mark.parametrize("kind", ["null", *map(slow, ["rows of wrong types", "half", "deep"])])
def test_A05_garbage_as_the_first_response_changes_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, kind: str
) -> None:
    """
    However many responses are garbage, the state stays starting, with 503, until the first correct
    response.
    """
    (one,) = replicas("one")
    nomad.set("web", [one.endpoint])
    nomad.fault(body(GARBAGE[kind]))
    subject = supervise(pid1=False)
    assert 503 == subject.ready().status
    eventually(
        lambda: nomad.requests[-1].at - nomad.requests[0].at > 2.5, 20
    )  # longer than the confirmation of an empty response
    assert "starting" == json.loads(subject.get().text)["state"]
    nomad.heal()
    assert "one" == subject.ready(8, status=200).text


#: The chunks of a response: of a wrong size, of none, or too few.
CHUNKS: dict[str, bytes] = {
    "negative": b"-5\r\n[]\r\n0\r\n\r\n",
    "no number": b"zz\r\n[]\r\n0\r\n\r\n",
    "not ASCII": b"\xff\xfe\r\n[]\r\n0\r\n\r\n",
    "no size": b"\r\n[]\r\n0\r\n\r\n",
    "too large": b"F" * 40 + b"\r\n[]\r\n0\r\n\r\n",
    "too long": b"2" * 70_000 + b"\r\n",
    "cut off": b"5\r\n[",
}


def _chunked(chunks: bytes, code: int = 200) -> Fault:
    head = f"HTTP/1.1 {code} -\r\nX-Nomad-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    return raw(head.encode() + chunks)


def test_A05_a_broken_chunk_is_named(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A response whose chunks have no valid size is reported as that, and with an error status by its
    status; the last endpoints serve.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one)
    faults = [(_chunked(chunks), "invalid chunk size") for chunks in CHUNKS.values()]
    faults += [(_chunked(chunks, 500), "Nomad returned status 500") for chunks in CHUNKS.values()]
    for number, (fault, reason) in enumerate(faults, 1):
        nomad.fault(fault, times=1)
        eventually(lambda n=number: len(subject.log_lines("discovery.recovered")) >= n, 5)
        assert reason in subject.log_lines("discovery.failed")[-1]["reason"]
        eventually(lambda: nomad.blocked, 5)
    assert "one" == subject.get().text
