"""The training loop: one optimizer step at a time, evaluated, logged, saved, and stopped between steps.

It knows nothing of files and data sets: with a model, batches, an objective and a journal of your own it
trains what you like.

Shapes: R rows of a batch, C outputs a row.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.checkpoint import Best, RunState
from elastier_trainer.config import LoopConfig
from elastier_trainer.errors import DivergenceError
from elastier_trainer.objective import MIDDLE, STUDENT, TA, MattaObjective
from elastier_trainer.optimizer import learning_rate, served_weights, set_learning_rate
from elastier_trainer.replicas import Forward, Replicas
from elastier_trainer.sampling import Batch, sample_middle
from elastier_trainer.submodel import Inputs, Ladder, Submodel, student_name

Ending = Literal["all steps", "early stop", "interrupted", "finished before"]

NAMED_ROW_IDS = 5
"""Row ids that an error's message repeats; all of them go with the error."""


class BatchSource(Protocol):
    """The batches of a run, each a pure function of the step."""

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        ...


class Journal(Protocol):
    """Where a run leaves its traces."""

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to the run's metrics."""
        ...

    def save(self, state: RunState) -> None:
        """Replace the run's checkpoint."""
        ...

    def diverged(self, record: dict[str, Any]) -> None:
        """Keep what is known of a step whose loss is not finite."""
        ...


class NoJournal:
    """A journal that keeps nothing: for loops inside of other programs, and for all processes but the first."""

    def log(self, record: dict[str, Any]) -> None:
        """See `Journal`."""

    def save(self, state: RunState) -> None:
        """See `Journal`."""

    def diverged(self, record: dict[str, Any]) -> None:
        """See `Journal`."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a run trains with."""

    config: LoopConfig
    model: nn.Module
    """Satisfies `NestedModel`."""
    ladder: Ladder
    objective: MattaObjective
    optimizer: torch.optim.Optimizer
    batches: BatchSource
    evaluate: Callable[[Sequence[Submodel]], list[float]]
    """Validation metric of each sub-model, more is better."""
    forward: Forward
    """The model's `logits`, or what gives the same."""
    journal: Journal = field(default_factory=NoJournal)
    replicas: Replicas = field(default_factory=Replicas)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def train(
    loop: Loop,
    state: RunState,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> Ending:
    """Train from `state` to the end of the run, or until `stop` says so between two steps.

    A checkpoint is saved every `checkpoint_every` steps and on a stop.

    Raises:
        DivergenceError: A term of the loss, or the gradient, is not finite.
    """
    config = loop.config
    while state.step < config.steps:
        if config.patience is not None and state.stale >= config.patience:
            return "early stop"
        if loop.replicas.any(stop()):
            loop.journal.save(state)
            return "interrupted"
        begun = time.perf_counter()
        record, rows = _step(loop, state)
        record["rows_per_second"] = round(rows / (time.perf_counter() - begun))
        if state.step % config.eval_every == 0 or state.step == config.steps:
            record["validation"] = _evaluate(loop, state)
        state.seconds += time.perf_counter() - begun
        loop.journal.log(record)
        progress("train", state.step, config.steps, _detail(record, state))
        if state.step % config.checkpoint_every == 0:
            loop.journal.save(state)
    return "all steps"


def _step(loop: Loop, state: RunState) -> tuple[dict[str, Any], int]:
    """One update of TA and students together; returns the step's line of metrics, and its number of rows."""
    config, step = loop.config, state.step
    batch = loop.batches.at(step)
    middle = sample_middle(loop.ladder, config.middle, seed=config.seed, step=step)
    lr = learning_rate(config.optimizer, step, config.steps)
    terms = _terms(loop, batch, middle, step)
    loop.optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(loop.model.parameters(), config.optimizer.clip_norm)
    values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
    values = loop.replicas.mean(values) | {"grad_norm": norm.item()}
    # Before the update: a bad batch leaves the weights as they were.
    _check_finite(loop, state, batch, values)
    set_learning_rate(loop.optimizer, lr)
    loop.optimizer.step()
    state.step += 1
    record = {
        "step": state.step,
        **values,
        "lr": lr,
        "weights": loop.objective.weights_at(step, config.steps),
    }
    record[MIDDLE] = None if middle is None else student_name(middle, loop.ladder.ta)
    return record, len(batch.row_ids_R) * loop.replicas.count


def _terms(loop: Loop, batch: Batch, middle: Submodel | None, step: int) -> dict[str, Tensor]:
    """The objective of the TA, the student and the middle student, in one forward pass."""
    chosen = {TA: loop.ladder.ta}
    if len(loop.ladder.submodels) > 1:
        chosen[STUDENT] = loop.ladder.smallest
    if middle is not None:
        chosen[MIDDLE] = middle
    inputs = _on_device(batch.inputs, loop.device)
    with torch.autocast(loop.device.type, torch.bfloat16, enabled=loop.config.precision == "bf16"):
        found = loop.forward(inputs, list(chosen.values()))
    students = dict(zip(chosen, (logits_RC.float() for logits_RC in found), strict=True))
    return loop.objective.terms(
        ta_RC=students.pop(TA),
        students_RC=students,
        labels_L=batch.labels_L.to(loop.device),
        teacher_RC=None if batch.teacher_RC is None else batch.teacher_RC.to(loop.device),
        step=step,
        steps=loop.config.steps,
    )


def _on_device(inputs: Inputs, device: torch.device) -> Inputs:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _check_finite(loop: Loop, state: RunState, batch: Batch, values: Mapping[str, float]) -> None:
    # The sum is named last: the term that spoiled it says more.
    bad = [
        name for name in sorted(values, key=lambda name: name == "loss") if not math.isfinite(values[name])
    ]
    if not bad:
        return
    ids = batch.row_ids_R.tolist()
    step = state.step + 1
    loop.journal.diverged({"step": step, "terms": {n: str(v) for n, v in values.items()}, "row_ids": ids})
    raise DivergenceError(
        f"step {step}: expected a finite {bad[0]}, got {values[bad[0]]}; "
        f"the batch has {len(ids)} rows, ids {ids[:NAMED_ROW_IDS]} and on"
    )


def _evaluate(loop: Loop, state: RunState) -> dict[str, float]:
    """Validation metric per student; keeps a copy of the weights if they are the best so far."""
    submodels = loop.ladder.submodels
    with served_weights(loop.optimizer):
        values = loop.replicas.from_leader(lambda: loop.evaluate(submodels), len(submodels))
        found = dict(zip(loop.ladder.names, values, strict=True))
        watch = loop.config.watch
        watched = sum(values) / len(values) if watch is None else found[watch]
        if state.best is not None and watched <= state.best.watched:
            state.stale += 1
            return found
        weights = {name: tensor.detach().clone() for name, tensor in loop.model.state_dict().items()}
    state.best = Best(step=state.step, watched=watched, validation=found, weights=weights)
    state.stale = 0
    return found


def _detail(record: dict[str, Any], state: RunState) -> str:
    detail = f"loss {record['loss']:.4f}"
    if state.best is not None:
        found = state.best.validation.values()
        detail += f", validation {min(found):.4f} to {max(found):.4f}"
    return f"{detail}, {record['rows_per_second']:,} rows/s"
