"""
Variables for the job files: replicas in the built image, and a deadline.
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
    Return the variables for a replica in the built image, which loads for `load` seconds.

    REPLICA_IMAGE sets another image with Python and timeout(1).
    """
    return {
        "replica_image": os.environ.get("REPLICA_IMAGE") or containers.image(),
        "replica_command": "python3",
        "replica_args": json.dumps(["-I", "-c", REPLICA, str(load)]),
    }


def in_seconds(seconds: float) -> str:
    """
    Return the time in `seconds` from now in the format of the job files.
    """
    return datetime.fromtimestamp(int(time.time() + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
