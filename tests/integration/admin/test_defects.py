"""
A defect of the program behind an admin socket: the client gets an answer, and the log the reason.
"""

import json
from pathlib import Path

from tests.support.admin_subject import running_with_admin
from tests.support.client import connect, get, request_bytes
from tests.support.injected import inject


def test_a_defect_is_a_500_with_words_and_one_line_in_the_log(tmp_path: Path) -> None:
    """
    On both sockets and for the command; it keeps serving, and answers again without the defect.
    """
    trigger = inject(tmp_path, "supervisor.admin.routes", "document", "parse_span")
    with running_with_admin("one", TTL="5h", PYTHONPATH=str(tmp_path)) as subject:
        trigger.touch()
        for where in (subject.socket, subject.admin_port):
            answer = get(where, "/status")
            assert 500 == answer.status
            assert answer.text.startswith("cannot answer: internal error (KeyError); ")
            assert "admin.failed" in answer.text
        done = subject.run_command("status")
        assert (1, "") == (done.returncode, done.stdout)
        assert "cannot show the status: cannot answer: internal error (KeyError)" in done.stderr

        line = subject.wait_for_log("admin.failed", request="GET /status")
        assert "KeyError: 'injected'" == line["reason"]
        assert "in broken" in line["traceback"]
        assert 1 == len(subject.log_lines("admin.failed"))

        assert 500 == subject.post("/deadline", by="1h").status
        assert 500 == get(subject.socket, "/status", method="HEAD").status
        assert 200 == get(subject.socket, "/healthz").status
        assert 200 == subject.get().status
        trigger.unlink()
        found = json.loads(get(subject.admin_port, "/status").text)
        assert "running" == found["phase"]


def test_a_client_that_disconnects_is_no_defect() -> None:
    """
    An answer that is not read leaves no line.
    """
    with running_with_admin("one") as subject:
        for _ in range(5):
            with connect(subject.socket) as connection:
                connection.sendall(request_bytes("/status"))
        for _ in range(5):
            assert 200 == get(subject.socket, "/status").status
        assert [] == subject.log_lines("admin.failed")
