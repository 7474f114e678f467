"""
What the jobs are given: replicas in the built image, and an end.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.support import containers
from tests.support.checkout import CHECKOUT

JOBS = CHECKOUT / "jobs"
REPLICA = (Path(__file__).parent / "container_replica.py").read_text()


def replica(load: float = 0.0) -> dict[str, str]:
    """
    Return the variables that make the built image a replica, which loads for so long.

    REPLICA_IMAGE names another one with a Python and a timeout(1).
    """
    return {
        "replica_image": os.environ.get("REPLICA_IMAGE") or containers.image(),
        "replica_command": "python3",
        "replica_args": json.dumps(["-I", "-c", REPLICA, str(load)]),
    }


def in_seconds(seconds: float) -> str:
    """
    Return the instant that is so far ahead, as the jobs want it.
    """
    return datetime.fromtimestamp(int(time.time() + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
