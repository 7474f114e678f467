"""
Random numbers for back-off and pacing.
"""

import random

#: A generator of its own: a module that seeds the shared one would give every balancer the same
#: pauses.
_RANDOM = random.SystemRandom()


def chance() -> float:
    """
    Return a random number in [0, 1).
    """
    return _RANDOM.random()
