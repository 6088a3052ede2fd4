"""The requests that wait, earliest deadline first."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from elastier_server.inference import TierBounds


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A waiting request, as far as scheduling goes; `payload` is whatever the caller keeps with it."""

    deadline_s: float
    arrival_s: float
    rows: int
    bounds: TierBounds
    payload: Any = None
    probe: bool = False
    """Admitted to learn whether the machine is still as slow as it was."""
    order: tuple[float, int] = field(default=(0.0, 0), init=False)
    """Deadline, then arrival."""


_ORDER = attrgetter("order")


class DeadlineQueue:
    """Tickets by deadline; equal deadlines in the order of arrival."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []
        self._arrivals = 0
        self.rows = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def __getitem__(self, index: int) -> Ticket:
        return self._tickets[index]

    def add(self, ticket: Ticket) -> None:
        """Queue a ticket."""
        self._arrivals += 1
        ticket.order = (ticket.deadline_s, self._arrivals)
        insort(self._tickets, ticket, key=_ORDER)
        self.rows += ticket.rows

    def remove(self, ticket: Ticket) -> bool:
        """Take a ticket out; False if it is not queued."""
        index = bisect_left(self._tickets, ticket.order, key=_ORDER)
        if index == len(self._tickets) or self._tickets[index] is not ticket:
            return False
        del self._tickets[index]
        self.rows -= ticket.rows
        return True

    def rows_before(self, deadline_s: float) -> int:
        """Rows of all tickets with an earlier or equal deadline."""
        rows = 0
        for ticket in self._tickets:
            if ticket.deadline_s > deadline_s:
                break
            rows += ticket.rows
        return rows

    def clear(self) -> list[Ticket]:
        """Take all tickets out."""
        tickets, self._tickets, self.rows = self._tickets, [], 0
        return tickets
