"""
Candidates for the runtime directory: one rule for the supervisor and the commands that find it.

The rule needs only the environment, and this module imports nothing that takes time: each health
check starts a new Python process every few seconds.
"""

from collections.abc import Mapping

from supervisor.core.config.listen_port import default_port


def runtime_candidates(environ: Mapping[str, str], uid: int) -> list[str]:
    """
    Return the directories to try for config and sockets, best first.

    The one in the temp folder has the number of the user in its name: the first user's folder would
    otherwise be above those of all others.

    `tempfile` is not used: it raises if no directory is writable, as on a read-only root, while the
    supervisor tries every candidate and reports the error of each.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if "RUNTIME_DIR" in given:
        return [given["RUNTIME_DIR"].rstrip("/")]
    port = given.get("LISTEN_PORT") or default_port(given)
    temp = given.get("TMPDIR", "/tmp")  # noqa: S108 - its owner is checked on use
    roots = ["/run/autoexit-nginx", given.get("NOMAD_TASK_DIR", ""), f"{temp}/autoexit-nginx-{uid}"]
    return [f"{root.rstrip('/')}/{port}" for root in roots if root]
