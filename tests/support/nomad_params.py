"""
Parameters of the contract tests: the fake always, real agents if available, with ACLs on and off.
"""

import pytest

from tests.support.nomad_agent import why_no_nomad

_REAL = (
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad() or "available"),
)


def _params(*names: str) -> list[object]:
    """
    Return parameters for these names; those of real agents need one.
    """
    return [
        pytest.param(name, id=name, marks=_REAL if name.startswith("real") else ())
        for name in names
    ]


ALL = _params("fake", "fake-open", "real", "real-open")

#: With ACLs enabled.
with_acl = pytest.mark.parametrize("api", _params("fake", "real"), indirect=True)

#: Without ACLs.
without_acl = pytest.mark.parametrize("api", _params("fake-open", "real-open"), indirect=True)

#: Only real agents, for tests of what the fake lacks, such as processes.
real_agents = pytest.mark.parametrize("api", _params("real", "real-open"), indirect=True)
