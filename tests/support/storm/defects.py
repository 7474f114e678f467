"""
Defects to inject into the program, each of which must lead to losses that no fault explains.
"""

#: Dead replicas stay in nginx's configuration.
_NO_VERDICTS = """
import runpy, sys
from supervisor.core.model import HealthState
from supervisor.health.prober import HealthChanges

add = HealthChanges.add

def ignoring(self, endpoint, state):
    add(self, endpoint, HealthState.READY if state is HealthState.FAILING else state)

HealthChanges.add = ignoring
sys.argv[1:] = ["run"]
runpy.run_module("supervisor", run_name="__main__", alter_sys=True)
"""

#: By name: a program for `python -c` in the place of the supervisor, and settings.
DEFECTS: dict[str, tuple[str, dict[str, str]]] = {
    "verdicts ignored": (_NO_VERDICTS, {}),
    "short timeout": ("", {"REQUEST_TIMEOUT": "1s"}),
}
