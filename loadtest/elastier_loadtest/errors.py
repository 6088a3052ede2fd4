"""What keeps a load test from running; what it finds is in its report instead.

ElastierError
└── LoadTestError               exit code 2: there is no report
    ├── ScenarioError           options or payloads that make no load test
    ├── ServerUnreachableError  nothing answers at the URL
    ├── ServerMismatchError     what answers does not serve what the test is for
    ├── CapacityError           no load at which the server answers in time
    ├── GeneratorError          the generator's process ended without its records
    └── WrongAnswerError        an answer that is not right: never raised to callers, it is in the report
"""

from elastier_contract.errors import ElastierError


class LoadTestError(ElastierError):
    """Base of what keeps a load test from running."""

    exit_code = 2


class ScenarioError(LoadTestError):
    """Options or payloads that make no load test."""


class ServerUnreachableError(LoadTestError):
    """Nothing answers at the URL."""


class ServerMismatchError(LoadTestError):
    """The server does not serve what the test is for."""


class CapacityError(LoadTestError):
    """The server's capacity could not be measured."""


class GeneratorError(LoadTestError):
    """The process that generates the load ended without handing over its records."""


class WrongAnswerError(LoadTestError):
    """An answer that is not right; `check.judge` turns it into an entry of the report."""
