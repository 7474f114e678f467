"""
The token while it is replaced.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ServiceQuery
from supervisor.nomad.errors import NomadError
from supervisor.nomad.token import Token, token_problem
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.nomad_faults import Exchange, status
from tests.support.replica import Replica
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.waiting import eventually
from tests.support.wire import Reply

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

NEW = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJuZXcifQ.bmV3"
UUID = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"


def client_of(**environ: object) -> ServiceQuery:
    """
    Return a client with this environment.
    """
    texts = {name: str(value) for name, value in environ.items()}
    settings = load.read({"SERVICE_NAME": "web", **texts}, lambda _: True)
    return ServiceQuery(settings, lambda _: None)


def test_A11_a_token_rotated_on_disk_is_used_by_the_next_query(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    A new token in the file is sent with the next query; while the file is empty or incomplete, the
    previous token is sent.  No token is ever logged.
    """
    one, two = replicas("one", "two")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    nomad.acl = True
    subject = start_serving(supervise, one, HEALTH_CHECK="off", NOMAD_TOKEN_FILE=str(file))
    nomad.tokens = {TOKEN, NEW}
    for text in ("", "\n", TOKEN[:40], NEW.rpartition(".")[0], "\xff\xfe", "two\nlines"):
        file.write_bytes(text.encode("latin-1"))
        count = len(nomad.requests)
        nomad.fault(status(500, "No cluster leader"), times=1)
        eventually(lambda n=count: len(nomad.requests) > n)
        eventually(lambda: nomad.blocked)
        assert {TOKEN} == {r.headers["X-Nomad-Token"] for r in nomad.requests}, text
    file.write_text(NEW + "\n")
    nomad.tokens = {NEW}
    nomad.fault(status(500, "No cluster leader"), times=1)
    eventually(lambda: NEW == nomad.requests[-1].headers["X-Nomad-Token"])
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert TOKEN not in subject.recent_output
    assert NEW not in subject.recent_output


@pytest.mark.parametrize("via", ["tcp", "socket"])
def test_A12_a_rejected_token_is_read_again_and_the_query_repeated(
    tmp_path: Path, via: str
) -> None:
    """
    A token that is replaced during a query is rejected with 401, 403 or the socket's 500: the new
    one is sent at once, without an error.
    """
    file = tmp_path / "token"
    with FakeNomad(tmp_path / "api.sock", acl=True) as nomad:
        address = nomad.address if via == "tcp" else nomad.unix_address
        client = client_of(NOMAD_ADDR=address, NOMAD_TOKEN_FILE=file)
        nomad.tokens = {NEW}
        for refusal in (
            status(401, "Unauthorized"),
            status(403, "Forbidden"),
            status(500, "Server error authenticating request\n"),
        ):
            file.write_text(TOKEN)
            count = len(nomad.requests)

            def rotate(exchange: Exchange, refusal: object = refusal) -> Reply | None:
                file.write_text(NEW)
                assert callable(refusal)
                found = refusal(exchange)
                assert isinstance(found, Reply)
                return found

            nomad.fault(rotate, times=1)
            assert [] == client.list_instances("web", 0, 1.0).rows
            sent = [r.headers["X-Nomad-Token"] for r in nomad.requests[count:]]
            assert [TOKEN, NEW] == sent
        client.close()


@pytest.mark.parametrize(
    "content, reason",
    [(None, "No such file or directory"), ("", "it has no complete token")],
    ids=["missing", "empty"],
)
def test_a_token_file_without_a_token_is_named(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path, content: str | None, reason: str
) -> None:
    """
    At the start, whether Nomad requires a token or not, and in the error of a query that it
    rejects; with the file's name.
    """
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    nomad.acl = True
    subject = supervise(pid1=False, NOMAD_TOKEN_FILE=str(file))
    problem = f"cannot use NOMAD_TOKEN_FILE='{file}': {reason}"
    unusable = subject.wait_for_log("token.unusable", level="warning")
    assert f"{problem}; requests have no token until it has one" == unusable["reason"]
    failed = subject.wait_for_log("discovery.failed")
    assert f"Nomad requires a token (403); {problem}" == failed["reason"]


def test_a_token_in_the_environment_is_used_instead_of_a_missing_file(tmp_path: Path) -> None:
    """
    The start reports the file even so; a usable file is no problem.
    """
    file = tmp_path / "token"
    settings = {"SERVICE_NAME": "web", "NOMAD_TOKEN": TOKEN, "NOMAD_TOKEN_FILE": str(file)}
    found = token_problem(load.read(settings, lambda _: True))
    assert found.endswith("No such file or directory; using NOMAD_TOKEN")

    file.write_text(NEW)
    assert "" == token_problem(load.read(settings, lambda _: True))


def test_A12_an_unchanged_rejected_token_is_sent_once(tmp_path: Path) -> None:
    """
    The same token is not sent twice for one query, and after a rejected new one there is no third
    attempt; a 500 for another reason is not repeated.
    """
    file = tmp_path / "token"
    file.write_text(UUID)
    with FakeNomad(acl=True) as nomad:
        client = client_of(NOMAD_ADDR=nomad.address, NOMAD_TOKEN_FILE=file)

        def sent_tokens(*faults: Callable[[Exchange], Reply | None]) -> list[str]:
            count = len(nomad.requests)
            nomad.fault(*faults, times=1)
            with pytest.raises(NomadError) as error:
                client.list_instances("web", 0, 1.0)
            assert error.value.status in {403, 500}
            nomad.heal()
            return [r.headers["X-Nomad-Token"] for r in nomad.requests[count:]]

        def rotate(code: int, text: str) -> Callable[[Exchange], Reply]:
            def play(_: Exchange) -> Reply:
                file.write_text(NEW)
                return Reply(code, text.encode())

            return play

        assert [UUID] == sent_tokens()
        assert [UUID, NEW] == sent_tokens(rotate(403, "Permission denied"))
        file.write_text(UUID)
        assert [UUID] == sent_tokens(rotate(500, "No cluster leader"))
        client.close()


def test_A12_a_rotation_during_a_blocked_query_is_no_failure(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    If the token in use is revoked during a blocked query, and the file already contains another,
    the next change is applied without a failure.
    """
    one, two = replicas("one", "two")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    nomad.acl = True
    subject = start_serving(supervise, one, HEALTH_CHECK="off", NOMAD_TOKEN_FILE=str(file))
    nomad.tokens = {NEW}
    file.write_text(NEW)
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("discovery.failed")


def test_a_missing_token_on_the_socket_names_the_identity_block(tmp_path: Path) -> None:
    """
    Without a token the Task API responds with 401: the reason names the two lines of the job.
    """
    with FakeNomad(tmp_path / "api.sock") as nomad:
        client = client_of(NOMAD_ADDR=nomad.unix_address)
        with pytest.raises(NomadError) as error:
            client.list_instances("web", 0, 1.0)
        client.close()
    assert 401 == error.value.status
    for text in ("401", "`env = true`", "`file = true`", "`identity`"):
        assert text in error.value.reason


@pytest.mark.parametrize(
    "text,expected",
    [
        (NEW, NEW),
        (f"  {NEW}\n", NEW),
        (UUID, UUID),
        ("", TOKEN),
        (TOKEN[:-1], TOKEN),
        (NEW.rpartition(".")[0], TOKEN),
        (NEW.rpartition(".")[0] + ".", TOKEN),
        ("eyJ", TOKEN),
        ("x" * 70_000, TOKEN),
        ("a\0b", TOKEN),
        ("t\u00f6ken", TOKEN),
    ],
)
def test_an_incomplete_token_is_ignored(tmp_path: Path, text: str, expected: str) -> None:
    """
    An empty file, the beginning of the last token, a JWT without its three parts, and binary data
    are no tokens; every token is redacted before it is used.
    """
    file, redacted = tmp_path / "token", list[str]()
    file.write_text(TOKEN)
    settings = load.read({"SERVICE_NAME": "web", "NOMAD_TOKEN_FILE": str(file)}, lambda _: True)
    token = Token(settings, redacted.extend)
    assert TOKEN == token.read()
    file.write_bytes(text.encode("utf-8"))

    assert expected == token.read() == redacted[-1]


def test_without_a_file_nomad_token_is_used() -> None:
    """
    NOMAD_TOKEN is sent if no file is configured, or the file does not exist yet.
    """
    given = {"SERVICE_NAME": "web", "NOMAD_TOKEN": "given"}
    for environ in (given, {**given, "NOMAD_TOKEN_FILE": "/nowhere/token"}):
        assert "given" == Token(load.read(environ, lambda _: True), lambda _: None).read()
