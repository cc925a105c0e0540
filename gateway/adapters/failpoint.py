"""Named places where a test can kill the process; active only when ``DOORWAY_FAILPOINT`` names one at start.

``DOORWAY_FAILPOINT=after_commit_before_ack:3`` kills the process (SIGKILL, no clean-up) the third time it comes by.
Places: ``after_commit_before_ack``, ``before_process_commit``, ``after_send_before_record``.
"""

import os
import signal
from functools import cache


class _Armed:
    """The place at which to die, and how many visits are left."""

    def __init__(self) -> None:
        self.name, _, count = os.environ.get("DOORWAY_FAILPOINT", "").partition(":")
        self.left = int(count) if count.isdigit() else 1


@cache
def _armed() -> _Armed:
    return _Armed()


def reached(name: str) -> None:
    """The process is at ``name``; it ends here if that is the place and the time."""
    armed = _armed()
    if name != armed.name:
        return
    armed.left -= 1
    if armed.left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
