"""The training loop: one optimizer step at a time, evaluated, logged, saved, and stopped between steps.

Shapes: B rows of a batch, D model dimension.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from elastier_contract.progress import Progress
from elastier_trainer.checkpoint import Best, RunState
from elastier_trainer.config import TrainConfig
from elastier_trainer.errors import DivergenceError
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import Widths
from elastier_trainer.objective import distill_weight, matta_loss
from elastier_trainer.optimizer import learning_rate, set_learning_rate
from elastier_trainer.sampling import Batch, Batches, sample_middle

Ending = Literal["all steps", "early stop", "interrupted", "finished before"]

NAMED_ROW_IDS = 5
"""Row ids that an error's message repeats; all of them go with the error."""


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


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a run trains with."""

    config: TrainConfig
    model: Ranker
    optimizer: torch.optim.Optimizer
    batches: Batches
    evaluate: Callable[[Sequence[Widths]], list[float]]
    """Validation AUC of each sub-model."""
    journal: Journal


def train(loop: Loop, state: RunState, *, stop: Callable[[], bool], progress: Progress) -> Ending:
    """Train from `state` to the end of the run, or until `stop` says so between two steps.

    A checkpoint is saved every `checkpoint_every` steps and on a stop.

    Raises:
        DivergenceError: A term of the loss, or the gradient, is not finite.
    """
    config = loop.config
    while state.step < config.steps:
        if config.patience is not None and state.stale >= config.patience:
            return "early stop"
        if stop():
            loop.journal.save(state)
            return "interrupted"
        begun = time.perf_counter()
        record = _step(loop, state)
        rows = config.labelled_rows + config.unlabelled_rows
        record["rows_per_second"] = round(rows / (time.perf_counter() - begun))
        if state.step % config.eval_every == 0 or state.step == config.steps:
            record["validation_auc"] = _evaluate(loop, state)
        state.seconds += time.perf_counter() - begun
        loop.journal.log(record)
        progress("train", state.step, config.steps, _detail(record, state))
        if state.step % config.checkpoint_every == 0:
            loop.journal.save(state)
    return "all steps"


def _step(loop: Loop, state: RunState) -> dict[str, Any]:
    """One update of TA and students together; returns the step's line of metrics."""
    config, step = loop.config, state.step
    batch = loop.batches.at(step)
    middle = sample_middle(config.widths, seed=config.seed, step=step)
    lr = learning_rate(config.optimizer, step, config.steps)
    w_distill = distill_weight(config.objective, step, config.steps)
    terms = _terms(loop, batch, middle, w_distill)
    loop.optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(loop.model.parameters(), config.optimizer.clip_norm)
    values = {name: term.item() for name, term in terms.items()} | {"grad_norm": norm.item()}
    # Before the update: a bad batch leaves the weights as they were.
    _check_finite(loop, state, batch, values)
    set_learning_rate(loop.optimizer, lr)
    loop.optimizer.step()
    state.step += 1
    return {"step": state.step, **values, "lr": lr, "w_distill": w_distill, "middle": middle}


def _terms(loop: Loop, batch: Batch, middle: Widths | None, w_distill: float) -> dict[str, Tensor]:
    """The objective of the TA, the student and the middle student, on one shared embedding of the batch."""
    widths = loop.config.widths
    x_BD = loop.model.embed(batch.inputs)
    students = {"student": widths[0]} if len(widths) > 1 else {}
    if middle is not None:
        students["middle"] = middle
    return matta_loss(
        loop.config.objective,
        ta_R=loop.model.rank(x_BD, widths[-1]).squeeze(1),
        students_R={name: loop.model.rank(x_BD, kept).squeeze(1) for name, kept in students.items()},
        labels_L=batch.labels_L,
        teacher_R=batch.teacher_R,
        w_distill=w_distill,
    )


def _check_finite(loop: Loop, state: RunState, batch: Batch, values: dict[str, float]) -> None:
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


def _evaluate(loop: Loop, state: RunState) -> dict[int, float]:
    """Validation AUC per width; keeps a copy of the weights if they are the best so far."""
    config = loop.config
    auc = dict(zip(config.ladder, loop.evaluate(config.widths), strict=True))
    watched = sum(auc.values()) / len(auc) if config.watch_width is None else auc[config.watch_width]
    if state.best is None or watched > state.best.watched_auc:
        weights = {name: tensor.detach().clone() for name, tensor in loop.model.state_dict().items()}
        state.best = Best(step=state.step, watched_auc=watched, validation_auc=auc, weights=weights)
        state.stale = 0
    else:
        state.stale += 1
    return auc


def _detail(record: dict[str, Any], state: RunState) -> str:
    detail = f"loss {record['loss']:.4f}"
    if state.best is not None:
        auc = state.best.validation_auc.values()
        detail += f", AUC {min(auc):.4f} to {max(auc):.4f}"
    return f"{detail}, {record['rows_per_second']:,} rows/s"
