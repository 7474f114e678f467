"""
What `exec` is told, and that it understands it as the supervisor does.
"""

import os

import pytest

from supervisor.cli.exec import options
from supervisor.core.config import load as table
from supervisor.core.deadline_record import DeadlineSettings
from supervisor.core.errors import Problem

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"TTL": "90"},
    {"TTL": " 1h30m "},
    {"TTL": "never"},
    {"TTL": "0"},
    {"TTL": ""},
    {"DURATION": "2h"},
    {"DURATION": "2h", "TTL": "2h"},
    {"DEADLINE": "2027-01-31T18:00:00Z", "TTL": "1h"},
    {"DEADLINE": "2027-01-31T18:00:00.5+01:00"},
    {"DEADLINE": "1800000000.25"},
    {"DEADLINE": "  "},
    {"STOP_TIMEOUT": "0", "DRAIN_TIMEOUT": "0"},
    {"STOP_TIMEOUT": "250ms", "DRAIN_TIMEOUT": "2h"},
    {"NOMAD_ALLOC_ID": "a", "NOMAD_ALLOC_DIR": "/alloc"},
    {"NOMAD_ALLOC_DIR": "/alloc", "NOMAD_TASK_NAME": "replica"},
    {"STATE_DIR": "/state", "NOMAD_ALLOC_DIR": "/alloc"},
]

WRONG: list[dict[str, str]] = [
    {"TTL": "soon"},
    {"TTL": "-1", "DEADLINE": "2027-01-31T18:00:00"},
    {"TTL": "1h", "DURATION": "2h"},
    {"DEADLINE": "2027-02-30T00:00:00Z", "STOP_TIMEOUT": "x", "DRAIN_TIMEOUT": "1y"},
]


@pytest.mark.parametrize("environ", ENVIRONMENTS)
def test_both_understand_the_same(environ: dict[str, str]) -> None:
    """
    The same words mean the same for nginx and for a wrapped command.
    """
    theirs = table.read({"ENDPOINTS": "10.0.0.5:5000", **environ}, os.path.exists)
    ours = options.read(environ)

    assert DeadlineSettings(theirs.ttl, theirs.deadline, theirs.nomad_alloc_id) == ours.wish
    assert (theirs.stop_timeout, theirs.drain_timeout) == (ours.stop_timeout, ours.drain_timeout)
    if {"STATE_DIR", "NOMAD_ALLOC_DIR"} & environ.keys():
        assert theirs.state_dir == ours.state_dir


@pytest.mark.parametrize("environ", WRONG)
def test_both_complain_of_the_same(environ: dict[str, str]) -> None:
    """
    The same mistakes are told in the same words, all at once.
    """
    with pytest.raises(Problem) as theirs:
        table.read({"ENDPOINTS": "10.0.0.5:5000", **environ}, os.path.exists)
    with pytest.raises(Problem) as ours:
        options.read(environ)

    assert sorted(theirs.value.lines) == sorted(ours.value.lines)
    assert (78, 78) == (theirs.value.code, ours.value.code)


@pytest.mark.parametrize("pid, folder", [(1, "/var/lib/autoexit-nginx"), (2, "")])
def test_without_an_allocation_only_a_container_keeps_a_record(
    monkeypatch: pytest.MonkeyPatch, pid: int, folder: str
) -> None:
    """
    As PID 1 the folder is the container's own; on a laptop two commands would share it, so there
    none is kept unless STATE_DIR says where.
    """
    monkeypatch.setattr(os, "getpid", lambda: pid)

    assert folder == options.read({}).state_dir


@pytest.mark.parametrize(
    "words, command",
    [
        (["ls"], ["ls"]),
        (["--", "ls", "-l"], ["ls", "-l"]),
        (["ls", "--", "x"], ["ls", "--", "x"]),
        (["--", "--odd"], ["--odd"]),
    ],
)
def test_the_command_is_what_follows(words: list[str], command: list[str]) -> None:
    """
    With `--` before it or without; its own words are its own.
    """
    assert command == options.command_in(words)


@pytest.mark.parametrize("words", [[], ["--"], ["-k", "ls"], ["--foreground"]])
def test_no_command_is_a_wrong_command_line(words: list[str]) -> None:
    """
    Nothing to run, or an option that does not exist, is 64.
    """
    with pytest.raises(Problem) as error:
        options.command_in(words)

    assert 64 == error.value.code
