"""Assignment: equal to GrowthBook's, sticky, independent, and unmoved by a ramp."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from growthbook.common_types import EvaluationContext, GlobalContext, Options, StackContext, UserContext
from growthbook.common_types import Experiment as TheirExperiment
from growthbook.core import run_experiment
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from elastier_server.experiment.assignment import Experiments, bucket, bucket_ranges, choose_arm, in_namespace
from elastier_server.experiment.schema import Experiment, ExperimentsFile, NamespaceRange

ALPHABET = "abcXYZ0189-_/ é€😀"
UNLIKELY = 1e-3
"""Fixed seeds: a statistic below this is a fault of the hash, never of a day."""


def experiment(
    weights: Sequence[float],
    *,
    seed: str = "seed",
    coverage: float = 1.0,
    namespace: tuple[str, float, float] | None = None,
    **more: object,
) -> Experiment:
    arms = [
        {"key": f"arm{index}", "weight": weight, "target": {"tier": "w8"}}
        for index, weight in enumerate(weights)
    ]
    owned = {"name": namespace[0], "range": namespace[1:]} if namespace else None
    document = {"key": "e", "status": "running", "arms": arms, "seed": seed, "coverage": coverage}
    return Experiment.model_validate(document | {"namespace": owned} | more)


def of_file(*experiments: Experiment) -> Experiments:
    names: dict[str, object] = {e.namespace.name: {} for e in experiments if e.namespace}
    return Experiments(
        ExperimentsFile.model_validate({"version": 1, "namespaces": names, "experiments": experiments})
    )


def their_arm(ours: Experiment, unit: str) -> int | None:
    """What the public SDK says of the same experiment."""
    theirs = TheirExperiment(
        key=ours.key,
        seed=ours.seed,
        variations=list(range(len(ours.arms))),
        weights=[arm.weight for arm in ours.arms],
        coverage=ours.coverage,
        hashVersion=2,
        namespace=(ours.namespace.name, *ours.namespace.range) if ours.namespace else None,
    )
    context = EvaluationContext(
        user=UserContext(attributes={"id": unit}),
        global_ctx=GlobalContext(options=Options()),
        stack=StackContext(),
    )
    result = run_experiment(theirs, evalContext=context)
    return result.variationId if result.inExperiment else None


def random_case(rng: random.Random) -> tuple[Experiment, str]:
    def text(least: int) -> str:
        return "".join(rng.choices(ALPHABET, k=rng.randint(least, 20)))

    parts = [rng.randint(1, 20) for _ in range(rng.randint(2, 5))]
    start, end = sorted(rng.sample(range(101), 2))
    return (
        experiment(
            [part / sum(parts) for part in parts],
            seed=text(1),
            coverage=rng.choice([0.0, 1.0, rng.random()]),
            namespace=rng.choice([None, ("router", start / 100, end / 100)]),
        ),
        text(1),
    )


def test_every_unit_gets_the_arm_that_the_public_growthbook_sdk_gives_it() -> None:
    rng = random.Random(7)
    met: Counter[int | None] = Counter()
    for _ in range(20_000):
        ours, unit = random_case(rng)
        arm = choose_arm(ours, unit)
        index = None if arm is None else ours.arms.index(arm)
        assert index == their_arm(ours, unit), (ours, unit)
        met[index] += 1
    assert min(met[index] for index in (None, 0, 1, 2, 3, 4)) > 100


@pytest.mark.parametrize(
    ("seed", "unit", "place"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 0.124),
        ("90850943850283058242805", "123", 0.7516),
        ("()**(%$##$%#$#", '___)((*":&', 0.0128),
    ],
)
def test_the_hash_is_that_of_growthbooks_published_vectors(seed: str, unit: str, place: float) -> None:
    assert bucket(seed, unit) == place


@pytest.mark.parametrize(
    ("weights", "coverage", "ranges"),
    [
        ([0.5, 0.5], 1.0, [(0, 0.5), (0.5, 1)]),
        ([0.5, 0.5], 0.5, [(0, 0.25), (0.5, 0.75)]),
        ([0.5, 0.5], 0.0, [(0, 0), (0.5, 0.5)]),
        ([0.4, 0.6], 1.0, [(0, 0.4), (0.4, 1)]),
        ([0.2, 0.3, 0.5], 0.2, [(0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
    ],
)
def test_the_ranges_are_those_of_growthbooks_published_vectors(
    weights: list[float], coverage: float, ranges: list[tuple[float, float]]
) -> None:
    got = [end for pair in bucket_ranges(weights, coverage) for end in pair]
    assert got == pytest.approx([end for pair in ranges for end in pair])


parts_of_weights = st.lists(st.integers(1, 100), min_size=2, max_size=6)


@given(
    parts=parts_of_weights,
    coverages=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.text(min_size=1),
    units=st.lists(st.text(min_size=1), min_size=1, max_size=50),
)
def test_raising_the_coverage_never_moves_or_drops_a_unit(
    parts: list[int], coverages: tuple[float, float], seed: str, units: list[str]
) -> None:
    weights = [part / sum(parts) for part in parts]
    before, after = (experiment(weights, seed=seed, coverage=c) for c in sorted(coverages))
    for unit in units:
        arm = choose_arm(before, unit)
        assert arm is None or choose_arm(after, unit) == arm


def test_a_unit_keeps_its_arm_when_other_experiments_come_and_go() -> None:
    mine = experiment([0.5, 0.5], key="mine", namespace=("router", 0.0, 0.5))
    other = experiment([0.9, 0.1], key="other", seed="other", namespace=("router", 0.5, 1.0))
    paused = experiment([0.5, 0.5], key="paused", seed="paused", status="paused")
    units = [f"user-{index}" for index in range(2_000)]
    alone = {unit: of_file(mine).assign(unit, "m") for unit in units}
    among = {unit: of_file(paused, other, mine).assign(unit, "m") for unit in units}
    kept = {unit: arm for unit, arm in alone.items() if arm is not None}
    assert 900 < len(kept) < 1_100
    assert kept == {unit: among[unit] for unit in kept}
    assert {a.experiment for unit, a in among.items() if unit not in kept and a} == {"other"}


def test_arms_of_experiments_with_other_seeds_are_independent() -> None:
    first, second = (experiment([0.3, 0.7], seed=seed) for seed in ("one/v1", "one/v2"))
    table = [[0, 0], [0, 0]]
    for index in range(20_000):
        arms = [e.arms.index(arm) for e in (first, second) if (arm := choose_arm(e, f"user-{index}"))]
        table[arms[0]][arms[1]] += 1
    assert chi2_contingency(table).pvalue > UNLIKELY


def test_the_split_inside_a_namespace_follows_the_weights() -> None:
    split = experiment([0.2, 0.3, 0.5], namespace=("router", 0.25, 0.75))
    met = Counter(arm.key for index in range(20_000) if (arm := choose_arm(split, f"user-{index}")))
    expected = [share * met.total() for share in (0.2, 0.3, 0.5)]
    assert chisquare([met[f"arm{index}"] for index in range(3)], expected).pvalue > UNLIKELY
    assert chisquare([met.total(), 20_000 - met.total()]).pvalue > UNLIKELY


def test_ranges_of_one_namespace_share_no_unit_and_leave_none_out() -> None:
    ranges = [NamespaceRange(name="router", range=ends) for ends in ((0.0, 0.3), (0.3, 0.5), (0.5, 1.0))]
    for index in range(5_000):
        assert sum(in_namespace(owned, f"user-{index}") for owned in ranges) == 1


@pytest.mark.parametrize("status", ["draft", "paused", "stopped"])
def test_an_experiment_that_does_not_run_assigns_nobody(status: str) -> None:
    assert of_file(experiment([0.5, 0.5], status=status)).assign("user", "m") is None


def test_the_first_running_experiment_that_includes_the_unit_takes_it() -> None:
    few = experiment([0.5, 0.5], key="few", seed="few", coverage=0.2)
    rest = experiment([0.5, 0.5], key="rest", seed="rest")
    both = of_file(few, rest)
    for index in range(500):
        unit = f"user-{index}"
        found = both.assign(unit, "m")
        assert found is not None
        assert found.experiment == ("few" if choose_arm(few, unit) else "rest")


def test_an_experiment_of_one_model_leaves_other_models_alone() -> None:
    experiments = of_file(experiment([0.5, 0.5], model="flights"))
    assert experiments.assign("user", "ratings") is None
    assert experiments.assign("user", "flights") is not None


def test_the_assignment_carries_the_arms_target_and_its_planned_share() -> None:
    found = of_file(experiment([0.25, 0.75])).assign("user", "m")
    assert found is not None
    assert (found.arm, found.probability) in {("arm0", 0.25), ("arm1", 0.75)}
    assert found.target.bounds(["w4", "w8", "w16"]) == (1, 1)


def test_an_empty_unit_is_in_no_experiment() -> None:
    assert of_file(experiment([0.5, 0.5])).assign("", "m") is None
