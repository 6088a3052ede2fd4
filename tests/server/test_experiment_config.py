"""An experiments file: what it may say, and that a wrong one is refused at its line, with its key."""

from pathlib import Path

import pytest

from elastier_server.errors import ExperimentConfigError
from elastier_server.experiment.config import load_experiments

TIERS = ("w8", "w16", "w64", "w128")
EXAMPLE = Path(__file__).parents[2] / "examples/experiments.yaml"
GOOD = """\
version: 1
namespaces: {router: {}}
experiments:
  - key: one
    status: running
    namespace: {name: router, range: [0.0, 0.5]}
    coverage: 0.8
    arms:
      - {key: control, weight: 0.5, target: {tier: w8}}
      - {key: treatment, weight: 0.5, target: {min_tier: w16, max_tier: w64}}
  - key: two
    status: running
    namespace: {name: router, range: [0.5, 1.0]}
    arms:
      - {key: a, weight: 0.5, target: {tier: w8}}
      - {key: b, weight: 0.5, target: {tier: w16}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "experiments.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_docs_is_a_good_file() -> None:
    experiments = load_experiments(EXAMPLE, tiers=TIERS)
    (running,) = experiments.running
    assert [arm.target.bounds(TIERS) for arm in running.arms] == [(0, 0), (2, 2)]
    assert running.metrics.guardrails[0].non_inferiority_margin == 0.005
    assert running.analysis.tuning_n == 20_000
    elastic, capped = experiments.file.experiments[1].arms
    assert (elastic.target.bounds(TIERS), capped.target.bounds(TIERS)) == ((0, 3), (0, 3))


def test_bounds_become_indices_from_the_cheapest_tier(tmp_path: Path) -> None:
    experiments = load_experiments(written(tmp_path, GOOD), tiers=TIERS)
    assert [arm.target.bounds(TIERS) for arm in experiments.running[0].arms] == [(0, 0), (1, 2)]


def test_a_file_without_experiments_assigns_nobody(tmp_path: Path) -> None:
    assert load_experiments(written(tmp_path, "version: 1\n"), tiers=TIERS).assign("user", "m") is None


@pytest.mark.parametrize(
    ("good", "bad", "line", "key", "message"),
    [
        ("version: 1", "version: 2", 1, "version", "expected 1, got 2"),
        ("version: 1\n", "", 1, "version", "expected a value, got none"),
        ("coverage: 0.8", "covrage: 0.8", 7, "experiments[0].covrage", "got the unknown key 'covrage'"),
        ("coverage: 0.8", "coverage: 1.2", 7, "experiments[0].coverage", "less than or equal to 1, got 1.2"),
        ("coverage: 0.8", "coverage: -0.1", 7, "experiments[0].coverage", "equal to 0, got -0.1"),
        ("coverage: 0.8", "coverage: .nan", 7, "experiments[0].coverage", "got nan"),
        (
            "coverage: 0.8",
            "coverage: '0.8'",
            7,
            "experiments[0].coverage",
            "expected a valid number, got '0.8'",
        ),
        (
            "status: running",
            "status: on",
            5,
            "experiments[0].status",
            "expected 'draft', 'running', 'paused'",
        ),
        ("[0.0, 0.5]", "[0.0, 1.5]", 6, "experiments[0].namespace.range[1]", "equal to 1, got 1.5"),
        ("[0.0, 0.5]", "[0.5, 0.5]", 6, "experiments[0].namespace.range", "expected a start below the end"),
        ("[0.0, 0.5]", "[0.0]", 6, "experiments[0].namespace.range[1]", "expected a value, got none"),
        (
            "[0.5, 1.0]",
            "[0.4, 1.0]",
            13,
            "experiments[1].namespace.range",
            "running experiment 'one', [0.0, 0.5]",
        ),
        (
            "name: router",
            "name: rooter",
            6,
            "experiments[0].namespace.name",
            "one of ['router'], got 'rooter'",
        ),
        ("key: two", "key: one", 11, "experiments[1].key", "expected unique keys, got 'one' twice"),
        ("key: treatment", "key: control", 10, "experiments[0].arms[1].key", "got 'control' twice"),
        ("key: control", "key: 'a b'", 9, "experiments[0].arms[0].key", "got 'a b'"),
        ("weight: 0.5", "weight: 0.6", 8, "experiments[0].arms", "sum to 1, got 0.6 + 0.5 = 1.1"),
        ("weight: 0.5", "weight: 0", 9, "experiments[0].arms[0].weight", "greater than 0, got 0"),
        ("tier: w8", "tier: w9", 9, "experiments[0].arms[0].target.tier", "'w128'], got 'w9'"),
        ("tier: w8", "version: '2'", 9, "experiments[0].arms[0].target.version", "not supported yet"),
        ("tier: w8", "policy: greedy", 9, "experiments[0].arms[0].target.policy", "not supported yet"),
        ("tier: w8", "", 9, "experiments[0].arms[0].target", "expected either 'tier' or"),
        ("tier: w8", "tier: w8, max_tier: w8", 9, "experiments[0].arms[0].target", "['max_tier', 'tier']"),
        ("max_tier: w64", "max_tier: w8", 10, "experiments[0].arms[1].target", "got 'w16' and 'w8'"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line_and_key(
    tmp_path: Path, good: str, bad: str, line: int, key: str, message: str
) -> None:
    path = written(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(ExperimentConfigError) as caught:
        load_experiments(path, tiers=TIERS)
    assert str(caught.value).startswith(f"{path}:{line}: {key}: ")
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_one_arm_is_no_experiment(tmp_path: Path) -> None:
    alone = "\n".join(line for line in GOOD.splitlines() if "treatment" not in line)
    with pytest.raises(ExperimentConfigError, match=r":8: experiments\[0\]\.arms: expected at least 2 items"):
        load_experiments(written(tmp_path, alone), tiers=TIERS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nexperiments: [", 2),
        ("version: 1\n\tkey: x\n", 2),
        ("version: 1\nversion: 1\n", 2),
        ("version: 1\nexperiments:\n  - key: a\n    key: b\n", 4),
        ("version: !!python/object:os.system 1\n", 1),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ExperimentConfigError) as caught:
        load_experiments(path, tiers=TIERS)
    assert str(caught.value).startswith(f"{path}:{line}: cannot be read as YAML: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "version",
        "&a [*a]",
        "version: 1\nexperiments: {}\n",
        "? [1]\n: 2\n",
        "version: 2024-99-99\n",
        "\0",
    ],
)
def test_whatever_else_the_file_holds_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ExperimentConfigError, match=r"expected|cannot be read as YAML") as caught:
        load_experiments(path, tiers=TIERS)
    assert str(caught.value).startswith(f"{path}:")


def test_a_file_that_is_missing_or_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ExperimentConfigError, match=r"nowhere\.yaml: expected a readable experiments file"):
        load_experiments(tmp_path / "nowhere.yaml", tiers=TIERS)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ExperimentConfigError, match=r"binary\.yaml: expected a readable experiments file"):
        load_experiments(tmp_path / "binary.yaml", tiers=TIERS)


def test_ranges_may_overlap_while_only_one_of_the_two_runs(tmp_path: Path) -> None:
    text = GOOD.replace("[0.5, 1.0]", "[0.0, 1.0]")
    paused = text.replace("key: two\n    status: running", "key: two\n    status: paused")
    assert len(load_experiments(written(tmp_path, paused), tiers=TIERS).running) == 1


def test_a_model_without_an_arms_tier_is_named_before_it_is_served(tmp_path: Path) -> None:
    experiments = load_experiments(written(tmp_path, GOOD), tiers=TIERS)
    experiments.check_tiers("flights", TIERS)
    with pytest.raises(ExperimentConfigError, match=r"arm 'treatment' of 'one', model 'small': .* got 'w64'"):
        experiments.check_tiers("small", ("w8", "w16"))
