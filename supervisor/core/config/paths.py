"""
Where the runtime folder may be: one rule for the supervisor and for the commands that look for it.

It needs nothing but the environment, and this module imports nothing that costs time: a health
check is a whole new Python every few seconds.
"""

from collections.abc import Mapping


def runtime_candidates(environ: Mapping[str, str]) -> list[str]:
    """
    Return the folders to try for config and sockets, best first.

    Not by `tempfile`, which looks for a folder that can be written to and raises where none can, as
    on a read-only root: each place shall be tried, and told with what is wrong with it.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if "RUNTIME_DIR" in given:
        return [given["RUNTIME_DIR"].rstrip("/")]
    port = given.get("LISTEN_PORT") or given.get("NOMAD_PORT_http") or "8080"
    temp = given.get("TMPDIR", "/tmp")  # noqa: S108 - what is made there is made with care
    roots = ["/run/autoexit-nginx", given.get("NOMAD_TASK_DIR", ""), f"{temp}/autoexit-nginx"]
    return [f"{root.rstrip('/')}/{port}" for root in roots if root]
