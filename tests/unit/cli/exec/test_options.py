"""
The settings and the command line of `exec`; it parses settings as the supervisor does.
"""

import os

import pytest

from supervisor.cli.exec import options
from supervisor.core.config import load
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
def test_both_parse_the_same_values(environ: dict[str, str]) -> None:
    """
    The supervisor and `exec` parse the same settings to the same values.
    """
    expected = load.read({"ENDPOINTS": "10.0.0.5:5000", **environ}, os.path.exists)
    actual = options.read(environ)

    assert (
        DeadlineSettings(
            expected.ttl,
            expected.deadline,
            expected.nomad_alloc_id,
        )
        == actual.deadline
    )
    assert (expected.stop_timeout, expected.drain_timeout) == (
        actual.stop_timeout,
        actual.drain_timeout,
    )
    if {"STATE_DIR", "NOMAD_ALLOC_DIR"} & environ.keys():
        assert expected.state_dir == actual.state_dir


@pytest.mark.parametrize(
    "environ, linger",
    [
        ({}, (30.0, False)),
        ({"LINGER": " "}, (30.0, False)),
        ({"DRAIN_TIMEOUT": "5s"}, (30.0, False)),
        ({"DRAIN_TIMEOUT": "2m"}, (120.0, False)),
        ({"LINGER": "5s", "DRAIN_TIMEOUT": "2m"}, (5.0, True)),
        ({"LINGER": "0"}, (0.0, True)),
    ],
)
def test_it_lingers_for_the_balancers_drain(
    environ: dict[str, str], linger: tuple[float, bool]
) -> None:
    """
    As long as a balancer with the same or the default DRAIN_TIMEOUT drains, unless LINGER is set.
    """
    found = options.read(environ)

    assert linger == (found.linger, found.is_linger_set)


def test_the_default_is_the_balancers_drain_timeout() -> None:
    """
    Without settings a command that serves lingers as long as the balancer drains.
    """
    balancer = load.read({"ENDPOINTS": "10.0.0.5:5000"}, os.path.exists)

    assert balancer.drain_timeout == options.read({}).linger


def test_an_invalid_linger_is_an_error() -> None:
    """
    It names the setting and the value.
    """
    with pytest.raises(Problem, match="LINGER='long'"):
        options.read({"LINGER": "long"})


@pytest.mark.parametrize("environ", WRONG)
def test_both_report_the_same_errors(environ: dict[str, str]) -> None:
    """
    Both report the same errors with the same text, all at once.
    """
    with pytest.raises(Problem) as expected:
        load.read({"ENDPOINTS": "10.0.0.5:5000", **environ}, os.path.exists)
    with pytest.raises(Problem) as actual:
        options.read(environ)

    assert sorted(expected.value.lines) == sorted(actual.value.lines)
    assert (78, 78) == (expected.value.code, actual.value.code)


@pytest.mark.parametrize("pid, folder", [(1, "/var/lib/autoexit-nginx"), (2, "")])
def test_without_an_allocation_only_pid_1_keeps_a_record(
    monkeypatch: pytest.MonkeyPatch, pid: int, folder: str
) -> None:
    """
    As PID 1 the folder is the container's own; elsewhere two commands would share it, so no record
    is kept unless STATE_DIR is set.
    """
    monkeypatch.setattr(os, "getpid", lambda: pid)

    assert folder == options.read({}).state_dir


@pytest.mark.parametrize(
    "arguments, command",
    [
        (["ls"], ["ls"]),
        (["--", "ls", "-l"], ["ls", "-l"]),
        (["ls", "--", "x"], ["ls", "--", "x"]),
        (["--", "--odd"], ["--odd"]),
    ],
)
def test_the_command_is_the_rest_of_the_line(arguments: list[str], command: list[str]) -> None:
    """
    With or without `--` before it; its own arguments are unchanged.
    """
    assert command == options.command_in(arguments)


@pytest.mark.parametrize("arguments", [[], ["--"], ["-k", "ls"], ["--foreground"]])
def test_a_missing_command_or_unknown_option_is_a_usage_error(arguments: list[str]) -> None:
    """
    The exit code is 64.
    """
    with pytest.raises(Problem) as error:
        options.command_in(arguments)

    assert 64 == error.value.code


@pytest.mark.parametrize(
    "environ, files, address, token_file",
    [
        ({}, (), None, ""),
        ({"NOMAD_SECRETS_DIR": "/s"}, ("api.sock", "nomad_token"), "unix:///s/api.sock", "yes"),
        ({"NOMAD_UNIX_ADDR": "unix:///x", "NOMAD_TOKEN": "t"}, (), "unix:///x", ""),
        ({"NOMAD_ADDR": "http://n:4646"}, (), "http://n:4646", ""),
        ({"NOMAD_ADDR": "http://n:4646", "NOMAD_TOKEN_FILE": "/t"}, (), "http://n:4646", "/t"),
        ({"NOMAD_SECRETS_DIR": "/s"}, ("api.sock",), None, ""),
        ({"NOMAD_SECRETS_DIR": "/s"}, (), None, ""),
        ({"NOMAD_ADDR": "http://n:4646", "NOMAD_JOB_ID": "a/periodic-1"}, (), None, ""),
        ({"NOMAD_ADDR": "http://n:4646", "NOMAD_JOB_ID": ""}, (), None, ""),
    ],
)
def test_both_follow_the_job_under_the_same_conditions(
    *,
    environ: dict[str, str],
    files: tuple[str, ...],
    address: str | None,
    token_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    In a job that is no child, with an address of Nomad, and with a token for the Task API's socket.
    """
    given = {"NOMAD_JOB_ID": "lb", "ENDPOINTS": "10.0.0.5:5000", **environ}
    there = {f"/s/{name}" for name in files}
    monkeypatch.setattr(os.path, "exists", there.__contains__)
    found = options.read(given).nomad

    assert (None if address is None else "nomad/jobs/lb") == (found and found.path)
    assert address == (found and found.address)
    assert ("/s/nomad_token" if token_file == "yes" else token_file) == (
        found.token_file if found else ""
    )
    settings = load.read(given, there.__contains__)
    assert ("" if address is None else "nomad/jobs/lb") == settings.job_variable
