"""The open-loop load for those who know locust.

    locust -f loadtest/locustfile.py --headless -u 1 -t 30s -H http://127.0.0.1:8000 \
        --bundle build/demo/bundle --rate 200

Each locust user offers `--rate` requests a second by itself: `-u 2` is twice the load. Locust's figures count
from the moment a request was due, and a refusal (429, 504) is a failure to it. `elastier loadtest` says more:
deadlines met, effective accuracy, tier shares.
"""

from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopTest

from elastier_contract.bundle import open_bundle
from elastier_contract.errors import ElastierError
from elastier_loadtest.arrivals import arrivals_at
from elastier_loadtest.check import expected_of
from elastier_loadtest.plan import make_plan
from elastier_loadtest.records import Recorder
from elastier_loadtest.scenario import BUDGETS_MS, make_scenario
from elastier_loadtest.users import OpenLoopUser

_FOR_EVER_S = 1e9


class Elastier(OpenLoopUser):
    """Offers load until locust's run time is over."""

    recorder = Recorder(keep=False)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """Add our options to locust's command line and to its web page."""
    group = parser.add_argument_group("elastier")
    group.add_argument("--bundle", type=Path, help="bundle that the server serves: makes random payloads")
    group.add_argument("--payloads", type=Path, help="JSON-lines file of request bodies to send instead")
    group.add_argument("--model", help="name of the served model; the bundle's by default")
    group.add_argument("--rate", type=float, default=100.0, help="requests a second of every user")
    group.add_argument("--cv2", type=float, default=1.0, help="squared variation of the gaps; 1 is Poisson")
    group.add_argument("--rows", type=int, default=30, help="rows of a random payload")
    group.add_argument("--budgets", default=",".join(f"{ms:g}" for ms in BUDGETS_MS), help="budgets in ms")
    group.add_argument("--seed", type=int, default=0, help="same seed, same requests at the same times")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def make_load(environment: Environment, **_: Any) -> None:
    """Make the payloads, encoded before any user starts; what is wrong with the options stops the test."""
    try:
        _configure(environment)
    except ElastierError as error:
        environment.process_exit_code = error.exit_code
        raise StopTest(str(error)) from None


def _configure(environment: Environment) -> None:
    options: Any = environment.parsed_options
    scenario = make_scenario(
        url=environment.host,
        bundle=options.bundle,
        payloads=options.payloads,
        model=options.model,
        rate=options.rate,
        cv2=options.cv2,
        rows=options.rows,
        budgets_ms=options.budgets.split(","),
        seed=options.seed,
    )
    manifest = open_bundle(scenario.bundle).manifest if scenario.bundle else None
    Elastier.plan = make_plan(scenario, manifest)
    Elastier.expected = expected_of(manifest)
    Elastier.arrivals = arrivals_at(options.rate, scenario.cv2)
    Elastier.duration_s = _FOR_EVER_S
