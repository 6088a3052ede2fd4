"""The server's configuration, from flags and the environment; a wrong one is refused with its name."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from elastier_server.errors import SettingsError

ENV_PREFIX = "ELASTIER_"


class Settings(BaseSettings):
    """All that `elastier serve` can be told; every field is also an environment variable ELASTIER_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", allow_inf_nan=False, env_ignore_empty=True
    )

    bundles: Annotated[tuple[Path, ...], NoDecode] = Field(min_length=1)
    """Bundle folders, in the environment parted as in PATH; of a model's versions the last is the default."""
    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    """0 takes a free port, which is printed."""
    experiments: Path | None = None
    """The experiments file; without it, no request is assigned to an arm."""
    drain_seconds: float = Field(30.0, ge=0)
    """How long running and queued requests may take to finish after SIGTERM."""
    default_budget_ms: PositiveFloat = 50.0
    """The budget of a request that names none."""
    max_budget_ms: PositiveFloat = 60_000.0
    budget_classes_ms: Annotated[tuple[PositiveFloat, ...], NoDecode] = Field(
        (1.0, 3.0, 10.0, 50.0), min_length=1
    )
    """Budgets that clients use; each bounds a bucket of the durations, so that shares in time are exact."""
    max_rows: PositiveInt = 1024
    """Rows that one request may carry."""
    max_body_bytes: PositiveInt = 8 * 2**20
    threads: PositiveInt = 1
    """Threads of one run of the engine, which runs one batch at a time."""
    policy: str = Field("guarded", min_length=1)
    """The scheduling policy: guarded, greedy, or fixed:TIER."""
    max_queue_requests: PositiveInt = 1024
    max_batch_rows: PositiveInt = 1024
    realtime: bool = False
    """Schedule the server's threads before all ordinary processes; needs the permission (CAP_SYS_NICE)."""
    reprofile: Literal["auto", "always", "never"] = "auto"
    """Whether tiers are measured anew at start; auto does so where the bundle's profile is of another machine."""

    @field_validator("bundles", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        return tuple(value.split(os.pathsep)) if isinstance(value, str) else value

    @field_validator("budget_classes_ms", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _default_within_limit(self) -> "Settings":
        if self.default_budget_ms > self.max_budget_ms:
            raise ValueError(
                f"default_budget_ms: expected at most max_budget_ms = {self.max_budget_ms:g}, "
                f"got {self.default_budget_ms:g}"
            )
        return self


def load_settings(**given: Any) -> Settings:
    """Settings from what is given, then the environment, then the defaults; None counts as not given.

    Raises:
        SettingsError: A field is unknown, missing or wrong; the message names it.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=True)[0]
        if first["type"] == "missing":
            raise SettingsError(f"{first['loc'][0]}: expected a value, got none") from error
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{where}: {message}, got {first['input']!r}" if where else message) from error
