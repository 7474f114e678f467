"""
Where the supervisor runs in Nomad, and how to reach it from outside.
"""

import pytest

from supervisor.core.config import load
from supervisor.core.config.instance import Instance, read_instance

ALLOCATION = "5ec6c5d6-0f0e-4f0d-9a5b-0c3a5e4f7b21"
NOMAD = {
    "NOMAD_ALLOC_ID": ALLOCATION,
    "NOMAD_TASK_NAME": "nginx",
    "NOMAD_JOB_NAME": "chat",
    "NOMAD_JOB_ID": "chat/dispatch-1",
    "NOMAD_NAMESPACE": "default",
    "NOMAD_REGION": "global",
}


@pytest.mark.parametrize(
    "changes, command",
    [
        ({}, f"nomad alloc exec -task nginx {ALLOCATION} autoexit-nginx"),
        ({"NOMAD_TASK_NAME": ""}, f"nomad alloc exec {ALLOCATION} autoexit-nginx"),
        (
            {"NOMAD_NAMESPACE": "ml", "NOMAD_REGION": "eu"},
            f"nomad alloc exec -region=eu -namespace=ml -task nginx {ALLOCATION} autoexit-nginx",
        ),
        (
            {"NOMAD_TASK_NAME": "my task; rm"},
            f"nomad alloc exec -task 'my task; rm' {ALLOCATION} autoexit-nginx",
        ),
        ({"NOMAD_ALLOC_ID": ""}, ""),
    ],
)
def test_the_command_reaches_the_task_from_outside(changes: dict[str, str], command: str) -> None:
    """
    It names the task, and namespace and region if they are not Nomad's defaults.
    """
    assert command == read_instance({**NOMAD, **changes}).command


def test_a_program_that_is_not_on_path_is_named_by_its_path() -> None:
    """
    Quoted as a shell needs it.
    """
    command = read_instance(NOMAD, "/opt/my venv/bin/autoexit-nginx").command

    assert command.endswith(f"{ALLOCATION} '/opt/my venv/bin/autoexit-nginx'")


def test_outside_of_nomad_there_is_no_instance() -> None:
    """
    Every field is empty.
    """
    assert Instance() == read_instance({})
    assert Instance(job="chat/dispatch-1") == read_instance({"NOMAD_JOB_ID": "chat/dispatch-1"})


@pytest.mark.parametrize(
    "environ, title",
    [
        ({"SERVICE_NAME": "web"}, "web"),
        ({"SERVICE_NAME": "web,api", "NOMAD_JOB_NAME": "chat"}, "web, api"),
        ({"ENDPOINTS": "10.0.0.5:80,10.0.0.6:80"}, "2 listed endpoints"),
        ({"ENDPOINTS": "10.0.0.5:80"}, "1 listed endpoint"),
        ({"ENDPOINTS": "10.0.0.5:80", "NOMAD_JOB_NAME": "chat"}, "chat"),
        ({"ENDPOINTS_FILE": "/local/endpoints.txt"}, "endpoints.txt"),
        ({"ENDPOINTS_FILE": "/local/endpoints.txt", "NOMAD_JOB_NAME": "chat"}, "chat"),
    ],
)
def test_the_title_is_a_name(environ: dict[str, str], title: str) -> None:
    """
    The services, else the job, else what lists the endpoints; never their addresses.
    """
    assert title == load.read(environ, lambda _: True).title
