"""Named places where a test can kill the process; active only when ``DOORWAY_FAILPOINT`` names one at start.

``DOORWAY_FAILPOINT=after_commit_before_ack:3`` kills the process (SIGKILL, no clean-up) the third time it comes by.
Places: ``after_commit_before_ack``, ``before_process_commit``, ``after_send_before_record``.
"""

import os
import signal
from typing import Final

_NAME, _, _COUNT = os.environ.get("DOORWAY_FAILPOINT", "").partition(":")
ACTIVE: Final = bool(_NAME)
_left = int(_COUNT) if _COUNT.isdigit() else 1


def reached(name: str) -> None:
    """The process is at ``name``; it ends here if that is the place and the time."""
    global _left
    if name != _NAME:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
