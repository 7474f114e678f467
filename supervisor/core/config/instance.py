"""
Where this supervisor runs in Nomad, and the command that reaches it from outside.
"""

import shlex
from collections.abc import Mapping

from supervisor.core.values import value_class


@value_class(frozen=True, slots=True)
class Instance:
    """
    The allocation, the task and the job of this supervisor, empty outside of Nomad.

    `command` runs autoexit-nginx in it, as in `COMMAND extend 1h`.
    """

    allocation: str = ""
    task: str = ""
    job: str = ""
    command: str = ""


#: The name of this program, as installed.
PROGRAM = "autoexit-nginx"


def read_instance(given: Mapping[str, str], program: str = PROGRAM) -> Instance:
    """
    Determine it from the variables that Nomad sets; `program` is how a command in the task names
    this program.

    The command names the task, because `nomad alloc exec` refuses to choose one of several, and the
    namespace and the region unless they are Nomad's defaults.
    """
    allocation = given.get("NOMAD_ALLOC_ID", "")
    job = given.get("NOMAD_JOB_NAME") or given.get("NOMAD_JOB_ID", "")
    if not allocation:
        return Instance(job=job)
    task = given.get("NOMAD_TASK_NAME", "")
    options = [
        f"-{name}={given[variable]}"
        for name, variable, default in (
            ("region", "NOMAD_REGION", "global"),
            ("namespace", "NOMAD_NAMESPACE", "default"),
        )
        if given.get(variable, default) != default
    ]
    if task:
        options += ["-task", task]
    words = ["nomad", "alloc", "exec", *options, allocation, program]
    return Instance(allocation, task, job, shlex.join(words))
