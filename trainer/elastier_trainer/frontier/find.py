"""From qualities and costs to a judged front: search on some rows, choose tiers, compare on other rows.

The best of many was in part lucky on the rows that chose it. So nothing is judged on those: the choosing half
of the validation rows finds the front and picks the tiers, the judging half says what they are worth.

The cost axis is log2: a doubling of cost counts as much for small tiers as for large ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.compare import Comparison, compare
from elastier_trainer.frontier.pareto import Point, best_steps
from elastier_trainer.frontier.search import Cost, Evaluate, front_of, search
from elastier_trainer.frontier.space import Space
from elastier_trainer.submodel import Ladder, Submodel, student_name

LONGEST_NAME = 63
"""Of a tier."""


class Judge(Protocol):
    """Quality on the rows that judge."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def prepare(self, submodels: Sequence[Submodel]) -> None:
        """Compute what `measure` needs of these sub-models."""
        ...

    def measure(self, submodel: Submodel, rows_R: NDArray[np.int64]) -> float:
        """Metric on some of the rows, by position; one may come more than once."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to look for."""

    space: Space
    ladder: Ladder
    """Where the search starts, and what its result is compared with."""
    cost: Cost
    chance: float
    """Quality of a useless answer; from there up the area counts."""
    evaluations: int
    tiers: int
    """How many tiers to choose from the front, at least 2 unless the ladder has one."""
    seed: int
    resamples: int

    @property
    def reference(self) -> Point:
        """Chance at the TA's cost, on the axis where areas are measured."""
        return Point(self.log_cost(self.ladder.ta), self.chance)

    def log_cost(self, submodel: Submodel) -> float:
        """Doublings of cost above 1."""
        return math.log2(self.cost(submodel))


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found."""

    evaluated: dict[Submodel, float]
    """Quality on the choosing rows, in the order of evaluation."""
    front: list[Submodel]
    """By rising cost; chosen on the choosing rows, as are the next two."""
    ladder: list[Submodel]
    """The ladder's own front."""
    tiers: Ladder
    """What to export: steps of the front, then the TA."""
    judged: dict[Submodel, float]
    """Quality on the judging rows, of the front, the tiers and the whole ladder."""
    front_against_ladder: Comparison
    tiers_against_ladder: Comparison


def find_front(
    plan: Plan,
    evaluate: Evaluate,
    judge: Judge,
    *,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Findings | None:
    """Search, choose and judge; None if it was stopped.

    Args:
        plan: What to look for.
        evaluate: Quality on the choosing rows.
        judge: Quality on the judging rows.
        progress: Told after every batch of evaluations and every resample.
        stop: Whether to stop; asked between batches.

    Raises:
        ConfigError: A budget below the ladder's size, or fewer than two tiers.
    """
    if plan.tiers < min(2, len(plan.ladder.names)):
        raise ConfigError(f"tiers: expected at least 2, the cheapest and the TA, got {plan.tiers}")
    students = plan.ladder.submodels
    evaluated = search(
        plan.space,
        students,
        evaluate,
        plan.log_cost,
        reference=plan.reference,
        evaluations=plan.evaluations,
        seed=plan.seed,
        progress=progress,
        stop=stop,
    )
    if stop():
        return None
    front = front_of(evaluated, plan.cost)
    ladder = front_of({student: evaluated[student] for student in students}, plan.cost)
    tiers = choose_tiers(plan, evaluated, front)
    judge.prepare(list(dict.fromkeys([*students, *front])))
    everything = np.arange(judge.rows)
    front_against_ladder, tiers_against_ladder = compare(
        [front, tiers.submodels],
        ladder,
        plan.log_cost,
        judge.measure,
        rows=judge.rows,
        reference=plan.reference,
        seed=plan.seed,
        resamples=plan.resamples,
        progress=progress,
    )
    return Findings(
        evaluated=evaluated,
        front=front,
        ladder=ladder,
        tiers=tiers,
        judged={submodel: judge.measure(submodel, everything) for submodel in {*students, *front}},
        front_against_ladder=front_against_ladder,
        tiers_against_ladder=tiers_against_ladder,
    )


def choose_tiers(plan: Plan, evaluated: dict[Submodel, float], front: Sequence[Submodel]) -> Ladder:
    """The steps of the front that cover most area, the cheapest among them, and the TA last.

    The TA is there even if something cheaper beats it: every tier is a part of it.
    """
    ta = plan.ladder.ta
    steps = [*(step for step in front if plan.cost(step) < plan.cost(ta)), ta]
    points = [Point(plan.log_cost(step), evaluated[step]) for step in steps]
    known = {student: name for name, student in plan.ladder.students.items()}
    students: dict[str, Submodel] = {}
    for number, index in enumerate(best_steps(points, plan.tiers, plan.reference), start=1):
        step = steps[index]
        name = known.get(step) or student_name(step, ta)
        students[name if len(name) <= LONGEST_NAME and name not in students else f"mix{number}"] = step
    return Ladder(students=students)
