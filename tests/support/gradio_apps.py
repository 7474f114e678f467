"""
A real Gradio application, and a real client of it, in an environment of their own.

Each session of the application counts its calls, and each result names the replica.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clean_environment import CleanEnvironmentError, environment
from tests.support.client import get
from tests.support.waiting import eventually, free_port

_PACKAGES = ("gradio==6.31.0", "gradio_client==2.7.2")

_APPLICATION = """
import sys
import gradio

name, port = sys.argv[1], int(sys.argv[2])

def count(number):
    return f"{name} {number + 1}", number + 1

with gradio.Blocks(analytics_enabled=False) as page:
    number = gradio.State(0)
    text = gradio.Textbox()
    gradio.Button("count").click(count, [number], [text, number], api_name="count")
page.launch(server_name="127.0.0.1", server_port=port, quiet=True)
"""

#: Prints the results of each client, as JSON; ends at the first client that fails.
_CLIENTS = """
import json, os, sys
from gradio_client import Client

for _ in range(int(sys.argv[2])):
    results = []
    try:
        client = Client(sys.argv[1], verbose=False, analytics_enabled=False)
        for _ in range(3):
            results.append(client.submit(api_name="/count").result(timeout=10))
    except BaseException as error:
        results.append(repr(error))
    print(json.dumps(results), flush=True)
    if [result.split()[1:] for result in results] != [["1"], ["2"], ["3"]]:
        break
os._exit(0)  # a client whose request hangs has a thread that never ends
"""


def gradio_python() -> Path:
    """
    Return an interpreter with gradio.  Raises CleanEnvironmentError.
    """
    return environment("gradio", " ".join(_PACKAGES).encode(), *_PACKAGES)


@contextmanager
def application(name: str) -> Iterator[int]:
    """
    Run the application, and yield its port once it responds.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gradio-") as folder, tempfile.TemporaryFile() as log:
        running = subprocess.Popen(
            [gradio_python(), "-c", _APPLICATION, name, str(port)],
            stdout=log,
            stderr=log,
            env=_environ(folder),
        )
        try:
            eventually(lambda: 200 == get(port).status, 120)
            yield port
        finally:
            running.kill()
            running.wait()
            log.seek(0)
            sys.stdout.write(log.read().decode("utf-8", "replace"))


@contextmanager
def two_replicas() -> Iterator[str]:
    """
    Run two replicas of the application, `one` and `two`, and yield a value of ENDPOINTS.

    Skips the test if there is no gradio.
    """
    try:
        gradio_python()
    except CleanEnvironmentError as error:
        pytest.skip(f"no gradio from PyPI: {error}")
    with application("one") as one, application("two") as two:
        yield f"127.0.0.1:{one},127.0.0.1:{two}"


def results_of_clients(port: int, clients: int) -> list[list[str]]:
    """
    Let clients call the application three times each; return their results, up to a failed one.
    """
    with tempfile.TemporaryDirectory(prefix="gradio-") as folder:
        done = subprocess.run(
            [gradio_python(), "-c", _CLIENTS, f"http://127.0.0.1:{port}/", str(clients)],
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
            env=_environ(folder),
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_one_session(results: list[str]) -> bool:
    """
    Return whether the calls of one client counted up in one session of one replica.
    """
    name = results[0].split()[0]
    return results == [f"{name} 1", f"{name} 2", f"{name} 3"]


def _environ(folder: str) -> dict[str, str]:
    # No request to other machines, no file outside the folder.
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": folder,
        "GRADIO_TEMP_DIR": folder,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
