"""
The Nomads that the contract binds: the fake always, real agents where there is one, each with ACLs
on and off.
"""

import pytest

from tests.support.nomad_agent import why_no_nomad

_REAL = (
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad() or "there is one"),
)


def _some(*names: str) -> list[object]:
    """
    Return parameters for these, of which the real ones need an agent.
    """
    return [
        pytest.param(name, id=name, marks=_REAL if name.startswith("real") else ())
        for name in names
    ]


EVERY = _some("fake", "fake-open", "real", "real-open")

#: For a test that is about what somebody may not do,
guarded = pytest.mark.parametrize("api", _some("fake", "real"), indirect=True)

#: that everybody may do everything,
unguarded = pytest.mark.parametrize("api", _some("fake-open", "real-open"), indirect=True)

#: or about what no fake has, such as processes.
agents = pytest.mark.parametrize("api", _some("real", "real-open"), indirect=True)
