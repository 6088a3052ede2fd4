"""Documents that people write: YAML in, what is wrong with it out, by key path."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from elastier_trainer.errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's mapping of keys to values; an empty file has none.

    Raises:
        ConfigError: No such file, not YAML, or not a mapping.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a YAML file, cannot read it: {error.strerror or error}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got a {type(document).__name__}")
    return document


def findings(error: ValidationError) -> list[str]:
    """What pydantic found, each as key path, expectation and what came."""
    found = []
    for finding in error.errors(include_url=False):
        where = ".".join(str(part) for part in finding["loc"])
        match finding["type"]:
            case "unexpected_keyword_argument" | "extra_forbidden":  # of a dataclass, of a model
                found.append(f"{where}: unknown key")
            case "missing":
                found.append(f"{where}: expected a value, got none")
            case "value_error":
                message = finding["msg"].removeprefix("Value error, ")
                found.append(f"{where}: {message}" if where else message)
            case _:
                found.append(f"{where or 'top level'}: {finding['msg']}, got {finding['input']!r}")
    return found
