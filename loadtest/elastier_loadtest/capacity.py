"""How much load a server takes, measured in a closed loop.

Capacity is **the most answers in time per second that any tried number of connections gave**: N connections
each send their next request as soon as the last one is answered, with the load test's own payloads and mix of
budgets, for `STEP_SECONDS`. N doubles as long as that raises the answers in time by `WORTH`. Refused and late
answers do not count, and a refused connection waits out its budget before it asks again.
"""

from collections.abc import Iterable, Sequence

from elastier_loadtest.errors import CapacityError
from elastier_loadtest.records import CapacityStep, Record

CONNECTIONS = (4, 8, 16, 32, 64, 128)
STEP_SECONDS = 2.0
WARM_UP_S = 0.5
WORTH = 1.05


def next_connections(steps: Sequence[CapacityStep]) -> int | None:
    """How many connections to try after `steps`; None where more would gain nothing."""
    if len(steps) == len(CONNECTIONS):
        return None
    if len(steps) > 1 and steps[-1].in_time <= WORTH * max(step.in_time for step in steps[:-1]):
        return None
    return CONNECTIONS[len(steps)]


def capacity_step(
    records: Iterable[Record], connections: int, elapsed_s: float, cpu_share: float
) -> CapacityStep:
    """Sum up one step; its first `WARM_UP_S` seconds and what was cut off at its end do not count."""
    finished = [r for r in records if r.latency_ms is not None and r.due_s >= WARM_UP_S]
    seconds = max(elapsed_s - WARM_UP_S, 1e-3)
    answered = [record for record in finished if record.answered]
    errors = sum(record.error is not None for record in finished)
    return CapacityStep(
        connections=connections,
        in_time=sum(record.met for record in answered) / seconds,
        answered=len(answered) / seconds,
        refused=(len(finished) - len(answered) - errors) / seconds,
        errors=errors,
        cpu_share=cpu_share,
    )


def best_step(steps: Sequence[CapacityStep], url: str) -> CapacityStep:
    """The step with the most answers in time.

    Raises:
        CapacityError: There was none; says what came instead.
    """
    best = max(steps, key=lambda step: step.in_time, default=None)
    if best is None or best.in_time <= 0:
        came = ", ".join(
            f"{step.connections} connections: {step.answered:.0f} late and "
            f"{step.refused:.0f} refused a second, {step.errors} errors"
            for step in steps
        )
        raise CapacityError(
            f"expected {url} to answer in time at some load, got none ({came or 'interrupted'})"
        )
    return best
