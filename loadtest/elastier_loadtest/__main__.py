"""The generator's process: a scenario as JSON on stdin, one JSON event a line on stdout.

Events: `{"progress": [task, done, total, detail]}` as it goes, and one at the end: `{"outcome": {...}}` or
`{"error": message}`. It is a process of its own since locust patches sockets and clocks of its whole process.
"""

import json
import os
import signal
import sys

# libev's epoll sleeps in whole milliseconds, which makes every request up to 1 ms late; its select is exact.
os.environ.setdefault("GEVENT_BACKEND", "select")

from dataclasses import asdict

from elastier_contract.errors import ElastierError
from elastier_loadtest.generator import generate
from elastier_loadtest.scenario import Scenario


def main() -> int:
    """Run the scenario on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is load to report, an interrupt just ends it
    scenario = Scenario.model_validate_json(sys.stdin.read())
    try:
        outcome = generate(scenario, lambda *event: _tell(progress=event))
    except ElastierError as error:
        _tell(error=str(error))
        return error.exit_code
    _tell(outcome=asdict(outcome))
    return 0


def _tell(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
