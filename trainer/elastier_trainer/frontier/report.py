"""What a search has to say, in figures and in a few plain sentences."""

from collections.abc import Sequence
from typing import Literal

from elastier_contract.model import FrozenModel
from elastier_trainer.frontier.compare import Comparison
from elastier_trainer.frontier.cost import SubmodelCost
from elastier_trainer.frontier.find import Findings, Plan
from elastier_trainer.submodel import Submodel, student_name

Mixes = Literal["trained", "searched though untrained", "not searched"]
"""Whether the run drew a width per block; and if not, whether its mixes were searched all the same."""


class StepReport(FrozenModel):
    """One sub-model."""

    name: str
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    model_dim: int
    cost: float
    choosing: float
    """Quality on the rows that chose."""
    judging: float
    """Quality on the rows that judge."""


class CostReport(FrozenModel):
    """What cost means here."""

    unit: str
    facts: dict[str, int | float | str]


class ReferenceReport(FrozenModel):
    """From where areas are measured."""

    cost: float
    quality: float


class ComparisonReport(FrozenModel):
    """Area of some steps against the ladder's, in metric × doublings of cost, on the rows that judge."""

    area: float
    ladder_area: float
    difference: float
    low: float
    high: float
    """Ends of the difference's 95 % interval, by a paired bootstrap over rows."""
    mean_gain: float
    """The difference per doubling between the cheapest and the TA: gain of the metric at a typical budget."""
    resamples: int
    beats: bool


class FrontierReport(FrozenModel):
    """All that was found; qualities of the front were chosen on other rows than they are judged on."""

    metric: str
    cost: CostReport
    reference: ReferenceReport
    mixes: Mixes
    space: int
    """Sub-models that there are."""
    evaluations: int
    seed: int
    choosing_rows: int
    judging_rows: int
    ladder: tuple[StepReport, ...]
    """The students, as trained."""
    ladder_front: tuple[str, ...]
    """Those of them that no cheaper one beats; the ladder's area is theirs."""
    front: tuple[StepReport, ...]
    tiers: tuple[StepReport, ...]
    evaluated: tuple[tuple[float, float], ...]
    """Cost and quality on the choosing rows, of everything that was looked at."""
    front_against_ladder: ComparisonReport
    tiers_against_ladder: ComparisonReport
    verdict: str
    notes: tuple[str, ...]
    command: str


def make_report(
    plan: Plan,
    findings: Findings,
    *,
    cost: SubmodelCost,
    metric: str,
    choosing_rows: int,
    judging_rows: int,
    mixes: Mixes,
    command: str,
) -> FrontierReport:
    """Put what was found into figures and words."""
    names = {student: name for name, student in plan.ladder.students.items()}
    names |= {tier: name for name, tier in findings.tiers.students.items()}

    def steps(submodels: Sequence[Submodel]) -> tuple[StepReport, ...]:
        return tuple(
            StepReport(
                name=names.get(submodel) or student_name(submodel, plan.ladder.ta),
                widths=submodel.widths,
                layers=submodel.layers,
                model_dim=submodel.model_dim,
                cost=plan.cost(submodel),
                choosing=findings.evaluated[submodel],
                judging=findings.judged[submodel],
            )
            for submodel in submodels
        )

    front = _comparison(plan, findings, findings.front_against_ladder)
    return FrontierReport(
        metric=metric,
        cost=CostReport(unit=cost.unit, facts=cost.facts),
        reference=ReferenceReport(cost=plan.cost(plan.ladder.ta), quality=plan.chance),
        mixes=mixes,
        space=plan.space.size,
        evaluations=len(findings.evaluated),
        seed=plan.seed,
        choosing_rows=choosing_rows,
        judging_rows=judging_rows,
        ladder=steps(plan.ladder.submodels),
        ladder_front=tuple(names[student] for student in findings.ladder),
        front=steps(findings.front),
        tiers=steps(findings.tiers.submodels),
        evaluated=tuple((plan.cost(submodel), quality) for submodel, quality in findings.evaluated.items()),
        front_against_ladder=front,
        tiers_against_ladder=_comparison(plan, findings, findings.tiers_against_ladder),
        verdict=_verdict(front, metric),
        notes=_notes(mixes, judging_rows),
        command=command,
    )


def short_cost(cost: float) -> str:
    """A cost for people, three digits or so: `0.437`, `512`, `16.8k`, `4.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if cost >= size:
            return f"{cost / size:.3g}{letter}"
    return f"{cost:.3g}"


def _comparison(plan: Plan, findings: Findings, found: Comparison) -> ComparisonReport:
    doublings = plan.log_cost(plan.ladder.ta) - min(map(plan.log_cost, findings.ladder))
    return ComparisonReport(
        area=found.area,
        ladder_area=found.ladder_area,
        difference=found.difference,
        low=found.low,
        high=found.high,
        mean_gain=found.difference / doublings if doublings else 0.0,
        resamples=found.resamples,
        beats=found.beats,
    )


def _verdict(found: ComparisonReport, metric: str) -> str:
    interval = f"{found.difference:+.5f} ({found.low:+.5f} to {found.high:+.5f}) {metric} × doublings of cost"
    if found.beats:
        return f"the front beats the uniform ladder's hypervolume by {interval}"
    return f"the front does not beat the uniform ladder's hypervolume: {interval}"


def _notes(mixes: Mixes, judging_rows: int) -> tuple[str, ...]:
    notes = [
        "Chosen on one half of the validation rows and judged on the other, since the best of many is in "
        "part lucky on the rows that chose it.",
        "The interval is over rows, not over training seeds.",
    ]
    if mixes == "not searched":
        notes.append(
            "This run never trained a mix of widths (middle: per_block does), and untrained mixes do not work: "
            "only the ladder was looked at. --untrained searches them all the same."
        )
    elif mixes == "searched though untrained":
        notes.append(
            "This run never trained a mix of widths (middle: per_block does): expect little of them."
        )
    if judging_rows < 1000:
        notes.append(f"Only {judging_rows} rows judge: expect a wide interval.")
    return tuple(notes)
