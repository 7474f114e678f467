"""
Random numbers for back-off and for spreading requests.
"""

import random

#: A separate generator: if a module seeded the shared one, all instances would pause in step.
_RANDOM = random.SystemRandom()


def chance() -> float:
    """
    Return a random number in [0, 1).
    """
    return _RANDOM.random()
