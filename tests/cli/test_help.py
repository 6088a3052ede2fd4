"""`--help` of every command: it teaches with examples that parse, names every option, and loads nothing heavy."""

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from elastier_cli.main import app
from support.processes import run_to_end

WIDE = {"COLUMNS": "200", "TERM": "dumb"}
EXAMPLE = re.compile(r"elastier [a-z-]+(?: +[^\s`]+)*")
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "lightgbm",
    "sklearn",
    "fastapi",
    "locust",
    "gevent",
)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something: its words and what typer made of it."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for name, command in group.commands.items():
        for inner, nested in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", nested
        if not hasattr(command, "commands"):
            yield name, command


COMMANDS = dict(commands())
DEFAULTS = {"study run": "study"}
"""Commands whose last word is left out where they are shown."""


def test_these_are_the_commands() -> None:
    assert sorted(COMMANDS) == [
        *(
            "bench-bundle",
            "data flights",
            "data letters",
            "data movielens",
            "demo",
            "export",
            "frontier",
            "inspect",
            "loadtest",
            "pack",
            "profile",
            "repack",
        ),
        *("serve", "study mixes", "study report", "study run", "train", "unpack"),
    ]


def test_elastier_alone_and_its_help_name_every_command() -> None:
    for arguments, exit_code in ((["--help"], 0), ([], 2)):
        result = CliRunner().invoke(app, arguments, env=WIDE)
        assert result.exit_code == exit_code
        for name in COMMANDS:
            assert re.search(rf"│ {name.split()[0]}\s", result.output), name


@pytest.mark.parametrize("words", COMMANDS)
def test_help_says_what_the_command_does_and_names_every_option(words: str) -> None:
    result = CliRunner().invoke(app, [*words.split(), "--help"], env=WIDE)
    assert result.exit_code == 0
    summary = inspect.cleandoc(COMMANDS[words].help or "").splitlines()[0]
    assert summary in result.output
    for parameter in COMMANDS[words].params:
        shown = max(parameter.opts, key=len)
        assert re.search(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", result.output), shown


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_explained(words: str) -> None:
    unexplained = [
        parameter.name for parameter in COMMANDS[words].params if not getattr(parameter, "help", "")
    ]
    assert unexplained == []


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_examples_and_they_parse(words: str) -> None:
    """An example with an option that was renamed, or without one that is required, is worse than none."""
    result = CliRunner().invoke(app, [*words.split(), "--help"], env=WIDE)
    text = COMMANDS[words].help or ""
    written = f"elastier {DEFAULTS.get(words, words)} "
    examples = [found for found in EXAMPLE.findall(text) if found.startswith(written)]
    assert examples
    for example in examples:
        assert re.sub(r"\s+", " ", example) in re.sub(r"[\s│]+", " ", result.output)
        arguments = shlex.split(example.removeprefix(written))
        COMMANDS[words].make_context(words, arguments)  # raises click's UsageError if it does not parse


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["data", "nothing"], ["inspect"], ["inspect", "x", "--nothing"], ["export", "run"]],
)
def test_what_does_not_parse_is_a_usage_error(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage: elastier" in result.stderr
    assert result.stdout == ""


def test_no_help_loads_a_heavy_library() -> None:
    code = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from elastier_cli.main import app\n"
        f"for words in {[*COMMANDS, 'data', '']!r}:\n"
        "    assert CliRunner().invoke(app, [*words.split(), '--help']).exit_code == 0\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    finished = run_to_end(["-c", code])
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == []
