"""What the server answers with when it does not answer with scores.

ElastierError
└── ServerError
    ├── InvalidRequestError      400  the request cannot be understood
    ├── NotFoundError            404  no such model, version, tier or route
    ├── PayloadTooLargeError     413  body over the limit
    ├── OverloadedError          429  shed: come back after `retry_after_s`
    ├── ClientGoneError          499  the client left before its answer; nobody reads this status
    ├── InferenceError           500  the engine failed
    ├── NotReadyError            503  loading, draining or stopped
    ├── DeadlineExceededError    504  the deadline passed before an answer
    ├── ListenError              --   the address cannot be listened on
    ├── SettingsError            --   the server's own configuration is wrong
    └── ExperimentConfigError    --   experiments.yaml is wrong
"""

from elastier_contract.errors import ElastierError


class ServerError(ElastierError):
    """Base of the server's errors."""


class InvalidRequestError(ServerError):
    """The request cannot be understood, or does not fit the model's signature."""

    status = 400


class NotFoundError(ServerError):
    """No such model, version, tier or route."""

    status = 404


class PayloadTooLargeError(ServerError):
    """The body is larger than the server takes."""

    status = 413


class OverloadedError(ServerError):
    """The request was shed, since its deadline cannot be met."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClientGoneError(ServerError):
    """The client left before its answer was ready."""

    status = 499


class InferenceError(ServerError):
    """The engine failed on a valid request."""

    status = 500


class NotReadyError(ServerError):
    """The model is loading, draining or stopped."""

    status = 503


class DeadlineExceededError(ServerError):
    """The deadline passed before there was an answer."""

    status = 504


class ListenError(ServerError):
    """The address cannot be listened on."""


class SettingsError(ServerError):
    """The server's own configuration is wrong."""

    exit_code = 2


class ExperimentConfigError(ServerError):
    """The experiments file is wrong."""

    exit_code = 2
