"""
The token, while somebody replaces it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ServiceQuery
from supervisor.nomad.errors import NomadError
from supervisor.nomad.token import Token
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
    Return a client that is told this by its environment.
    """
    told = {name: str(value) for name, value in environ.items()}
    return ServiceQuery(load.read({"SERVICE_NAME": "web", **told}, lambda _: True), lambda _: None)


def test_A11_a_token_rotated_on_disk_is_used_by_the_next_query(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    A new token in the file goes out with the next query; while the file is empty or holds the
    beginning of one, the last token does.  No token is ever logged.
    """
    one, two = replicas("one", "two")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    nomad.acl = True
    subject = start_serving(supervise, one, HEALTH_CHECK="off", NOMAD_TOKEN_FILE=str(file))
    nomad.tokens = {TOKEN, NEW}
    for text in ("", "\n", TOKEN[:40], NEW.rpartition(".")[0], "\xff\xfe", "two\nlines"):
        file.write_bytes(text.encode("latin-1"))
        asked = len(nomad.requests)
        nomad.fault(status(500, "No cluster leader"), times=1)
        eventually(lambda n=asked: len(nomad.requests) > n)
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
def test_A12_a_refused_token_is_read_again_and_the_question_asked_again(
    tmp_path: Path, via: str
) -> None:
    """
    A token that is replaced while a question is on its way is refused with 401, 403 or the
    socket's 500: the new one goes out at once, without a failure to be seen.
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
            asked = len(nomad.requests)

            def rotate(exchange: Exchange, refusal: object = refusal) -> Reply | None:
                file.write_text(NEW)
                assert callable(refusal)
                found = refusal(exchange)
                assert isinstance(found, Reply)
                return found

            nomad.fault(rotate, times=1)
            assert [] == client.list_instances("web", 0, 1.0).rows
            sent = [r.headers["X-Nomad-Token"] for r in nomad.requests[asked:]]
            assert [TOKEN, NEW] == sent
        client.close()


def test_A12_a_token_that_is_still_refused_is_asked_with_once(tmp_path: Path) -> None:
    """
    The same token is not sent twice for one question, and a new one that is refused as well not a
    third time; a 500 of another kind is no reason to ask again.
    """
    file = tmp_path / "token"
    file.write_text(UUID)
    with FakeNomad(acl=True) as nomad:
        client = client_of(NOMAD_ADDR=nomad.address, NOMAD_TOKEN_FILE=file)

        def again(*faults: Callable[[Exchange], Reply | None]) -> list[str]:
            asked = len(nomad.requests)
            nomad.fault(*faults, times=1)
            with pytest.raises(NomadError) as trouble:
                client.list_instances("web", 0, 1.0)
            assert trouble.value.status in {403, 500}
            nomad.heal()
            return [r.headers["X-Nomad-Token"] for r in nomad.requests[asked:]]

        def rotate(code: int, text: str) -> Callable[[Exchange], Reply]:
            def play(_: Exchange) -> Reply:
                file.write_text(NEW)
                return Reply(code, text.encode())

            return play

        assert [UUID] == again()
        assert [UUID, NEW] == again(rotate(403, "Permission denied"))
        file.write_text(UUID)
        assert [UUID] == again(rotate(500, "No cluster leader"))
        client.close()


def test_A12_the_program_follows_over_a_rotation(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    When the token in use is revoked while a query waits, and the file already holds another, the
    next change is followed without a failure.
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


def test_a_socket_that_wants_a_token_says_what_to_add(tmp_path: Path) -> None:
    """
    Without a token the Task API answers 401: the reason names the two lines of the job.
    """
    with FakeNomad(tmp_path / "api.sock") as nomad:
        client = client_of(NOMAD_ADDR=nomad.unix_address)
        with pytest.raises(NomadError) as trouble:
            client.list_instances("web", 0, 1.0)
        client.close()
    assert 401 == trouble.value.status
    for words in ("401", "`env = true`", "`file = true`", "`identity`"):
        assert words in trouble.value.reason


@pytest.mark.parametrize(
    "text,taken",
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
def test_what_is_a_token(tmp_path: Path, text: str, taken: str) -> None:
    """
    Nothing, a beginning of the last token, a JWT without its three parts, and what is no text are
    no tokens; every token is hidden from the log before it is used.
    """
    file, hidden = tmp_path / "token", list[str]()
    file.write_text(TOKEN)
    read = load.read({"SERVICE_NAME": "web", "NOMAD_TOKEN_FILE": str(file)}, lambda _: True)
    token = Token(read, hidden.extend)
    assert TOKEN == token.read()
    file.write_bytes(text.encode("utf-8"))

    assert taken == token.read() == hidden[-1]


def test_without_a_file_the_given_token_counts() -> None:
    """
    NOMAD_TOKEN is what is sent where no file holds one, or the file is not there yet.
    """
    given = {"SERVICE_NAME": "web", "NOMAD_TOKEN": "given"}
    for environ in (given, {**given, "NOMAD_TOKEN_FILE": "/nowhere/token"}):
        assert "given" == Token(load.read(environ, lambda _: True), lambda _: None).read()
