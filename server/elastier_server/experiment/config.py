"""Reading an experiments file: whatever is wrong with it is told with its line and its key."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from elastier_server.errors import ExperimentConfigError
from elastier_server.experiment.assignment import Experiments
from elastier_server.experiment.schema import ExperimentsFile

KeyPath = tuple[str | int, ...]

_SHOULD = re.compile(r"^\w+ should (be|have) ")


def load_experiments(path: Path, *, tiers: Sequence[str]) -> Experiments:
    """Read and check an experiments file.

    Args:
        path: A YAML file, see docs/experiments.md.
        tiers: Names of the tiers that arms may target, cheapest first.

    Raises:
        ExperimentConfigError: It cannot be read, or says something wrong; the message names file, line, key,
            expected and got.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentConfigError(f"{path}: expected a readable experiments file, got {error}") from error
    root, content = _parse(path, text)
    try:
        file = ExperimentsFile.model_validate(content, context={"tiers": tuple(tiers)})
    except ValidationError as error:
        key_path, message = _explain(error)
        line = _line(root, key_path)
        raise ExperimentConfigError(f"{path}:{line}: {_dotted(key_path)}: {message}") from error
    return Experiments(file, str(path))


class _UniqueKeysLoader(yaml.SafeLoader):
    """YAML lets a key come twice and takes the last one: half of an experiment would be lost unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"expected unique keys, got {key.value!r} twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(path: Path, text: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _UniqueKeysLoader(text)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ExperimentConfigError(f"{path}:{line}: cannot be read as YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ExperimentConfigError(f"{path}: cannot be read as YAML: {error}") from error


def _explain(error: ValidationError) -> tuple[KeyPath, str]:
    """Where the first error lies, and what was expected and came."""
    first = error.errors(include_url=False)[0]
    loc: KeyPath = tuple(part for part in first["loc"] if part != "[key]")
    if first["type"] == "refused":
        return (*loc, *first["ctx"]["path"]), first["msg"]
    if first["type"] == "missing":
        return loc, "expected a value, got none"
    message = first["msg"].removeprefix("Value error, ")
    message = _SHOULD.sub("expected ", message)
    return loc, message if first["type"] == "value_error" else f"{message}, got {first['input']!r}"


def _line(root: yaml.Node | None, key_path: KeyPath) -> int:
    """Line of the deepest node on the path that the file has."""
    node, line = root, 1
    for part in key_path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        else:
            return line
    return line


def _dotted(key_path: KeyPath) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path)
    return text.removeprefix(".") or "the file"
