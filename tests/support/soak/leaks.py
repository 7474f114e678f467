"""
Leaks to inject into the program: one object for each rendered configuration.
"""

LEAKS = {
    "file": "os.dup(0)",
    "memory": "held.append(bytes(1000))",
    "thread": "threading.Thread(target=time.sleep, args=(86400,), daemon=True).start()",
}

_PROGRAM = """
import os, runpy, sys, threading, time
from supervisor.nginx.render import Renderer

held, render = [], Renderer.render

def leaking(*args):
    {leak}
    return render(*args)

Renderer.render = leaking
sys.argv[1:] = ["run"]
runpy.run_module("supervisor", run_name="__main__", alter_sys=True)
"""


def leaking(python: str, leak: str) -> tuple[str, ...]:
    """
    Return the command line of the program with a leak.
    """
    return (python, "-c", _PROGRAM.format(leak=LEAKS[leak]))
