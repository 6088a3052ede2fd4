"""Which assignments are exposures: the first time a unit meets an arm, as far as this process remembers."""

from collections import OrderedDict

from elastier_server.experiment.assignment import Assignment


class Exposures:
    """The last pairs of unit and arm that were met, for the live count of this process.

    A unit that was forgotten, or meets another process, counts again: the exact count needs an event log.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[int, None] = OrderedDict()

    def first_time(self, assignment: Assignment, unit: str) -> bool:
        """Whether the unit meets this arm for the first time; from now on it has."""
        pair = hash((assignment.experiment, assignment.arm, unit))
        if pair in self._seen:
            self._seen.move_to_end(pair)
            return False
        self._seen[pair] = None
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return True
