"""
The job's variable, which holds the deadline of the whole job: followed in a thread, and written.

`core/job_deadline` has the rules.  A failure changes nothing: the known deadline stays.  A write is
complete when the variable has been read back; check-and-set keeps it from undoing another move.
"""

import threading
import time
from collections.abc import Callable
from contextlib import closing

import requests

from supervisor.core import job_deadline
from supervisor.core.commands import WriteJobVariable
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, JobVariableFailed, JobVariableRead, JobVariableWritten
from supervisor.core.job_deadline import Following, parse_variable
from supervisor.core.job_deadline import JobVariable as Found
from supervisor.nomad.api import VariableRequest
from supervisor.nomad.errors import NomadError, no_thread_error
from supervisor.nomad.in_thread import post_outcome

_DENIED = frozenset({401, 403})


class JobVariable:
    """
    The variable: a thread follows it and posts each reading; each write has a thread of its own.

    `chance` returns random numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
        chance: Callable[[], float],
    ) -> None:
        self._path = settings.job_variable
        self._settings = settings
        self._post = post
        self._redact = redact
        self._chance = chance
        self._client = VariableRequest(settings, redact)

    def start(self) -> None:
        """Start to follow it."""
        try:
            threading.Thread(target=self._run, name="job variable", daemon=True).start()
        except RuntimeError:
            self._post(JobVariableFailed(no_thread_error().reason))

    def _run(self) -> None:
        following = Following()
        while True:
            following, pause = self._step(following)
            time.sleep(pause)

    def _step(self, following: Following) -> tuple[Following, float]:
        """Query once; return what is known then, and the pause."""
        began = time.monotonic()
        try:
            response = self._client.read(self._path, following.next_index, job_deadline.WAIT)
            variable = _parsed(response.value)
        except NomadError as error:
            return self._fail(following, error)
        except Exception as error:  # noqa: BLE001 - the follower must continue after any error
            return self._fail(following, NomadError(f"internal error: {type(error).__name__}"))
        answered = job_deadline.on_answer(
            following,
            variable,
            response.next_index or 0,
            took=time.monotonic() - began,
            chance=self._chance(),
        )
        if answered.counts:
            self._post(JobVariableRead(variable, time.time()))
        return answered.following, answered.pause

    def _fail(self, following: Following, error: NomadError) -> tuple[Following, float]:
        following = job_deadline.on_query_failure(following)
        is_denied = error.status in _DENIED
        self._post(JobVariableFailed(error.reason, is_denied=is_denied))
        return following, job_deadline.pause_after_failure(
            following.failures,
            is_refused=error.refused,
            is_denied=is_denied,
            retry_after=error.retry_after,
            chance=self._chance(),
        )

    def write(self, command: WriteJobVariable) -> None:
        """Write it now.  Answered by JobVariableWritten."""
        post_outcome(
            "job variable write",
            lambda: self._write(command),
            lambda error: _failed(command, error),
            self._post,
        )

    def _write(self, command: WriteJobVariable) -> JobVariableWritten:
        with closing(VariableRequest(self._settings, self._redact)) as client:
            variable = self._written(client, command)
        return JobVariableWritten(command.ticket, time.time(), variable)

    def _written(self, client: VariableRequest, command: WriteJobVariable) -> Found:
        """Write the items beside those of others, and return what Nomad has then."""
        value = client.read(self._path).value
        before = _parsed(value)
        found = 0 if before is None else before.modify_index
        if command.expected not in {None, found}:
            raise NomadError("it was modified at the same time", status=requests.codes.conflict)
        items = value.get("Items") if isinstance(value, dict) else None
        client.write(
            self._path,
            job_deadline.items_for(
                items if isinstance(items, dict) else {},
                command.deadline,
                command.planned,
                command.moved_by,
            ),
            found,
        )
        variable = _parsed(client.read(self._path).value)
        if variable is None:
            raise NomadError(f"the variable {self._path} is gone again")
        return variable


def ask(settings: Settings, redact: Callable[[list[str]], None]) -> Found | None:
    """
    Return the variable at a start after the deadline, None if there is none.  Raises NomadError.
    """
    client = VariableRequest(settings, redact)
    try:
        return _parsed(client.read(settings.job_variable).value)
    except NomadError:
        raise
    except Exception as error:
        raise NomadError(f"internal error: {type(error).__name__}") from error
    finally:
        client.close()


def _parsed(value: object) -> Found | None:
    try:
        return None if value is None else parse_variable(value)
    except ValueError as error:
        raise NomadError(str(error)) from None


def _failed(command: WriteJobVariable, error: NomadError) -> JobVariableWritten:
    return JobVariableWritten(command.ticket, time.time(), error=error.reason, status=error.status)
