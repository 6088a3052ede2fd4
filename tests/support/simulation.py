"""A simulation of one engine in its own time: arrivals in, what became of every request out."""

from dataclasses import dataclass, field

import numpy as np

from elastier_contract.machine import Machine
from elastier_contract.profile import LatencyPoint, LatencyProfile
from elastier_server.errors import OverloadedError
from elastier_server.inference import TierBounds
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.policies import policy_by_name
from elastier_server.scheduler.queue import Ticket
from elastier_server.scheduler.scheduler import Scheduler
from support.counting_events import CountingEvents

TIERS = ("w8", "w32", "w128", "w512")
UTILITY = (0.92, 0.94, 0.97, 1.0)
FIXED_MS = (0.05, 0.05, 0.06, 0.08)
PER_ROW_MS = (0.0015, 0.002, 0.004, 0.012)


def steep_profile() -> LatencyProfile:
    """Four tiers as a ranker's are: at 200 rows the largest takes 7 times as long as the smallest."""
    return LatencyProfile(
        machine=Machine(processor="invented", cores=2, system="Linux", onnxruntime="1.32.0"),
        threads=1,
        runs=1,
        tiers={
            name: tuple(
                LatencyPoint(rows=rows, p50_ms=ms, p95_ms=1.15 * ms, p99_ms=1.3 * ms)
                for rows in (1, 64, 1024)
                for ms in (fixed_ms + row_ms * rows,)
            )
            for name, fixed_ms, row_ms in zip(TIERS, FIXED_MS, PER_ROW_MS, strict=True)
        },
    )


@dataclass
class Report:
    """What became of all requests."""

    requests: int = 0
    met: int = 0
    quality: float = 0.0
    tiers: list[int] = field(default_factory=list)
    batches: list[list[Ticket]] = field(default_factory=list)

    @property
    def met_ratio(self) -> float:
        return self.met / self.requests

    @property
    def effective_accuracy(self) -> float:
        return self.quality / self.requests


def simulate(
    policy: str,
    *,
    arrivals_s: np.ndarray,
    budgets_ms: np.ndarray,
    rows: int = 200,
    machine_factor: float = 1.0,
    seed: int = 0,
) -> Report:
    """Run a policy over arrivals; a run takes its profiled p50 times noise times `machine_factor`."""
    profile = steep_profile()
    rng = np.random.default_rng(seed)
    scheduler = Scheduler(
        policy_by_name(policy, TIERS),
        CostModel(profile, TIERS),
        utility=UTILITY,
        events=CountingEvents(),
        max_queue_requests=1024,
        max_batch_rows=1024,
    )
    report = Report(requests=len(arrivals_s))
    bounds = TierBounds(lowest=0, highest=len(TIERS) - 1)
    free_s, running = 0.0, None
    index = 0

    def dispatch(now_s: float) -> None:
        nonlocal free_s, running
        scheduler.expire(now_s)
        decision = scheduler.dispatch(now_s)
        if decision is not None:
            likely_ms = profile.latency_ms(TIERS[decision.tier], decision.rows, "p50")
            taken_s = likely_ms / 1e3 * machine_factor * rng.lognormal(0, 0.08)
            free_s, running = now_s + taken_s, (decision, taken_s)

    while index < len(arrivals_s) or running is not None:
        if running is not None and (index == len(arrivals_s) or free_s <= arrivals_s[index]):
            decision, taken_s = running
            running = None
            scheduler.ran(decision, taken_s, free_s)
            report.tiers.append(decision.tier)
            report.batches.append(list(decision.tickets))
            for ticket in decision.tickets:
                if free_s + 1e-4 <= ticket.deadline_s:
                    report.met += 1
                    report.quality += UTILITY[decision.tier]
            scheduler.cost.observe_answer(free_s, free_s + 1e-4)
            dispatch(free_s)
            continue
        now_s, budget_s = float(arrivals_s[index]), float(budgets_ms[index]) / 1e3
        ticket = Ticket(deadline_s=now_s + budget_s, arrival_s=now_s, rows=rows, bounds=bounds)
        index += 1
        try:
            scheduler.offer(ticket, now_s)
        except OverloadedError:
            continue
        if running is None:
            dispatch(now_s)
    return report


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Arrival times at a rate, until `seconds`."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 1.3) + 10)
    times = np.cumsum(gaps)
    return times[times < seconds]


def mixed_budgets(count: int, budgets_ms: tuple[float, ...], seed: int = 1) -> np.ndarray:
    """Budgets in equal shares, by chance."""
    return np.random.default_rng(seed).choice(budgets_ms, count)
