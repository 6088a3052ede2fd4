"""Which jobs a study consists of, and which of them can start: pure functions of what is done.

A job is known by the digest of its configuration, so a study that is changed trains again what changed and
nothing else, and two recipes that ask for the same run share it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from elastier_trainer.config_file import parse_config, plain_config
from elastier_trainer.study.config import Settings, StudyConfig
from elastier_trainer.study.recipes import Document, Unit, put, units_of
from elastier_trainer.study.results import Failure, JobResult, JudgedOn, Outcome


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the study for one run: a trial of a setting, or a reported seed with the chosen one."""

    unit: Unit
    seed: int
    trial: int | None
    """Index of the setting that is tried; None for the chosen one."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.unit.key}/seed{self.seed}" + ("" if self.trial is None else f"/trial{self.trial}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, fully described."""

    name: str
    document: Document
    """The training configuration; paths are relative to the study's file."""
    teacher: str | None
    """Digest of the job whose network is the teacher, in place of the document's."""
    split: JudgedOn

    @property
    def digest(self) -> str:
        """Of all that shapes the result, defaults too: another default is another job."""
        config = _resolved(json.dumps(self.document, sort_keys=True))
        content = json.dumps([config, self.teacher, self.split])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _resolved(document: str) -> str:
    """A configuration as JSON with all of its defaults; asked for again and again while a study runs."""
    config = parse_config(json.loads(document), source="a job")
    return json.dumps(plain_config(config), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A slot that cannot be filled, and why."""

    reason: str


class Plan:
    """Slots and jobs of a study."""

    def __init__(self, study: StudyConfig, units: Mapping[str, Unit]) -> None:
        self.study = study
        self.units = dict(units)

    def slots(self, only: frozenset[str] = frozenset()) -> list[Slot]:
        """Every slot, trials first; `only` keeps some recipes and what they need."""
        keys = self._needed(only)
        units = [unit for key, unit in self.units.items() if key in keys]
        trials = [
            Slot(unit=unit, seed=self.study.tuning.seed, trial=index)
            for unit in units
            if unit.tuned_by is None and len(unit.trials) > 1
            for index in range(len(unit.trials))
        ]
        # Seed by seed: a study that is stopped early has whole seeds to compare.
        reported = [Slot(unit=unit, seed=seed, trial=None) for seed in self.study.seeds for unit in units]
        return trials + reported

    def job(self, slot: Slot, outcomes: Mapping[str, Outcome]) -> Job | Blocked | None:
        """What fills a slot; None while something that it needs is not done."""
        teacher = None
        if slot.unit.taught_by is not None:
            above = Slot(unit=self.units[slot.unit.taught_by], seed=slot.seed, trial=None)
            taught_by = self.job(above, outcomes)
            if not isinstance(taught_by, Job):
                return taught_by
            match outcomes.get(taught_by.digest):
                case None:
                    return None
                case Failure() as failure:
                    return Blocked(reason=f"its teacher failed: {failure.job}")
            teacher = taught_by.digest
        chosen = slot.trial if slot.trial is not None else self.choice(slot.unit, outcomes)
        if not isinstance(chosen, int):
            return chosen
        document = put(slot.unit.document, {**slot.unit.trials[chosen], "seed": slot.seed})
        tuning = slot.seed == self.study.tuning.seed
        return Job(
            name=slot.name, document=document, teacher=teacher, split="validation" if tuning else "test"
        )

    def choice(self, unit: Unit, outcomes: Mapping[str, Outcome]) -> int | Blocked | None:
        """Index of a unit's chosen setting; None while its trials run.

        The best mean validation metric over the widths wins; a trial that failed, as by divergence, cannot.
        """
        if unit.tuned_by is not None:
            return self.choice(self.units[unit.tuned_by], outcomes)
        if len(unit.trials) == 1:
            return 0
        scores = self.trial_scores(unit, outcomes)
        if isinstance(scores, Blocked) or scores is None:
            return scores
        if not any(score is not None for score in scores):
            return Blocked(reason=f"every trial of {unit.key} failed")
        return max(
            (index for index, score in enumerate(scores) if score is not None),
            key=lambda index: scores[index] or 0.0,
        )

    def trial_scores(
        self, unit: Unit, outcomes: Mapping[str, Outcome]
    ) -> list[float | None] | Blocked | None:
        """Mean validation metric of each trial, None for one that failed; None while they run."""
        scores: list[float | None] = []
        for index in range(len(unit.trials)):
            job = self.job(Slot(unit=unit, seed=self.study.tuning.seed, trial=index), outcomes)
            if not isinstance(job, Job):
                return job
            match outcomes.get(job.digest):
                case None:
                    return None
                case JobResult() as result:
                    scores.append(result.mean)
                case _:
                    scores.append(None)
        return scores

    def chosen_settings(self, unit: Unit, outcomes: Mapping[str, Outcome]) -> Settings | None:
        """A unit's chosen setting; None while it is not known."""
        index = self.choice(unit, outcomes)
        return unit.trials[index] if isinstance(index, int) else None

    def _needed(self, only: frozenset[str]) -> set[str]:
        keys = {key for key, unit in self.units.items() if not only or unit.recipe in only}
        pending = list(keys)
        while pending:
            unit = self.units[pending.pop()]
            for needed in (unit.taught_by, unit.tuned_by):
                if needed is not None and needed not in keys:
                    keys.add(needed)
                    pending.append(needed)
        return keys


def make_plan(study: StudyConfig) -> Plan:
    """The plan of a study, every configuration of it checked.

    Raises:
        ConfigError: A setting that no training configuration takes; names recipe and key.
    """
    units = units_of(study)
    for unit in units.values():
        for setting in unit.trials:
            parse_config(put(unit.document, setting), source=f"study {study.name}: {unit.key}")
    return Plan(study, units)
