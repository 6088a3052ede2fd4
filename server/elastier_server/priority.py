"""Real-time priority: on a machine whose cores are shared, a woken thread otherwise waits for its turn.

Serving a request takes three or four wake-ups of threads. Where other processes keep the cores busy, Linux may let
each of them wait until the next timer tick, 4 ms at 250 Hz, which is more than a tight budget.
"""

import os
import sys

from elastier_server.errors import SettingsError

ENGINE_PRIORITY = 1
"""Of all threads that start from here on."""

LOOP_PRIORITY = 2
"""Of the event loop: it is busy for a moment only, and everybody waits for it."""


def take_priority(priority: int) -> None:
    """Schedule this thread, and those it starts, round-robin before all ordinary ones (sched(7), SCHED_RR).

    Raises:
        SettingsError: Not Linux, or not permitted.
    """
    if not sys.platform.startswith("linux"):
        raise SettingsError(f"realtime: expected Linux, got {sys.platform}")
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
    except PermissionError as error:
        raise SettingsError(
            "realtime: expected permission for real-time scheduling, got none: "
            "run with CAP_SYS_NICE or a limit of `ulimit -r 2` and more"
        ) from error
