"""The generator: runs locust in this process, first to measure capacity if need be, then to make the load."""

import gc
import signal
import time
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner

from elastier_contract.bundle import open_bundle
from elastier_contract.progress import Progress
from elastier_loadtest.arrivals import Arrivals, arrivals_at
from elastier_loadtest.capacity import STEP_SECONDS, best_step, capacity_step, next_connections
from elastier_loadtest.check import Expected, expected_of
from elastier_loadtest.plan import Plan, make_plan
from elastier_loadtest.records import CapacityStep, Outcome, Recorder
from elastier_loadtest.scenario import Scenario
from elastier_loadtest.users import ClosedLoopUser, ElastierUser, OpenLoopUser

_TICK_S = 0.5
_INTERRUPTED_DRAIN_S = 1.0


class Generator:
    """Makes the load of one scenario."""

    def __init__(self, scenario: Scenario, plan: Plan, expected: Expected, progress: Progress) -> None:
        self._scenario = scenario
        self._plan = plan
        self._expected = expected
        self._progress = progress
        self._interrupted = Event()

    def interrupt(self) -> None:
        """End the load early; what was sent until then is reported."""
        self._interrupted.set()

    def run(self) -> Outcome:
        """Measure capacity if the rate hangs on it, then offer the load.

        Raises:
            CapacityError: The server answered nothing in time.
        """
        steps: tuple[CapacityStep, ...] = ()
        rate = self._scenario.rate
        if rate is None:
            steps = self._measure_capacity()
            rate = best_step(steps, self._scenario.url).in_time * (self._scenario.fraction_of_capacity or 1.0)
        return self._offer(arrivals_at(rate, self._scenario.cv2), rate, steps)

    def _measure_capacity(self) -> tuple[CapacityStep, ...]:
        steps: list[CapacityStep] = []
        while (connections := next_connections(steps)) and not self._interrupted.is_set():
            recorder = Recorder()
            runner = _runner(self._user(ClosedLoopUser, recorder))
            cpu_s, start = time.process_time(), time.perf_counter()
            runner.start(connections, spawn_rate=connections)
            self._interrupted.wait(timeout=STEP_SECONDS)
            runner.quit()
            elapsed_s = time.perf_counter() - start
            cpu_share = (time.process_time() - cpu_s) / elapsed_s
            steps.append(capacity_step(recorder.records, connections, elapsed_s, cpu_share))
            self._progress("capacity", len(steps), len(steps), f"{steps[-1].in_time:,.0f} in time a second")
        return tuple(steps)

    def _offer(self, arrivals: Arrivals, rate: float, steps: tuple[CapacityStep, ...]) -> Outcome:
        duration_s = self._scenario.warm_up_s + self._scenario.seconds
        recorder = Recorder()
        user = self._user(OpenLoopUser, recorder, arrivals=arrivals, duration_s=duration_s)
        runner = _runner(user)
        cpu_s, start = time.process_time(), time.perf_counter()
        runner.start(1, spawn_rate=1)
        gevent.joinall([runner.spawning_greenlet])
        while runner.user_count and not self._interrupted.is_set():
            runner.user_greenlets.join(timeout=_TICK_S)
            done_s = min(time.perf_counter() - start, duration_s)
            self._progress("load", round(done_s, 1), duration_s, f"{len(recorder.records):,} requests")
        elapsed_s = min(time.perf_counter() - start, duration_s)
        if self._interrupted.is_set():
            user.drain_s = _INTERRUPTED_DRAIN_S
        runner.quit()  # where it was interrupted, the user still waits for its last answers
        return Outcome(
            records=sorted(recorder.records, key=lambda record: record.due_s),
            rate=rate,
            arrivals=arrivals.kind,
            elapsed_s=elapsed_s,
            interrupted=self._interrupted.is_set(),
            live_peak=recorder.live_peak,
            cpu_share=(time.process_time() - cpu_s) / (time.perf_counter() - start),
            capacity=steps,
        )

    def _user(self, base: type[ElastierUser], recorder: Recorder, **attributes: Any) -> type[ElastierUser]:
        attributes |= {
            "host": self._scenario.url,
            "plan": self._plan,
            "expected": self._expected,
            "recorder": recorder,
            "concurrency": self._scenario.connections,
            "network_timeout": self._scenario.timeout_s,
            "connection_timeout": self._scenario.timeout_s,
            "drain_s": self._scenario.timeout_s + 1,
        }
        return type(base.__name__.removesuffix("User"), (base,), attributes)


def _runner(user: type[ElastierUser]) -> LocalRunner:
    return Environment(user_classes=[user]).create_local_runner()


def generate(scenario: Scenario, progress: Progress) -> Outcome:
    """Make the load of a scenario; the first SIGINT or SIGTERM ends it early, and it is still reported.

    Raises:
        ElastierError: The bundle or the payloads cannot be read, or there is no capacity to take a share of.
    """
    manifest = open_bundle(scenario.bundle).manifest if scenario.bundle else None
    generator = Generator(scenario, make_plan(scenario, manifest), expected_of(manifest), progress)
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, generator.interrupt)
    # The payloads stay to the end: without this, every full collection would walk them and stall the load.
    gc.collect()
    gc.freeze()
    return generator.run()
