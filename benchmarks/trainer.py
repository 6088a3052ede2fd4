"""How fast the training loop is beside a bare one that is written by hand for the same model.

Both take the same steps in one process, in alternating blocks: same model and first weights, same batches,
same sub-models, same optimizer. The loop logs every step to a file, shows its progress, checks every term,
and saves a checkpoint after each block; the bare one does nothing but forwards, backwards and updates. Neither
evaluates. The figure is the median over pairs of blocks of their ratio of rows per second.

    python benchmarks/trainer.py --threads 2 --json

Shapes: R rows of a batch, of which the first L are labelled, C = 1 output a row, K categorical columns.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from elastier_cli.console import progress_bars
from elastier_contract.progress import Progress
from elastier_trainer.checkpoint import RunState, save_checkpoint
from elastier_trainer.config import LoopConfig
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.folder import open_journal
from elastier_trainer.loop import Loop, train
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.objective import MIDDLE, STUDENT, TA, MattaObjective
from elastier_trainer.optimizer import build_optimizer, learning_rate
from elastier_trainer.run import library_versions
from elastier_trainer.sampling import Batches, make_batches, sample_middle
from elastier_trainer.submodel import Ladder, Submodel, student_name
from elastier_trainer.task import BinaryTask

GOAL = 0.9
WARM_UP_BLOCKS = 1
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained: by default a run as the demo's, on made rows with as many columns and values."""

    rows: int = 50_000
    category_sizes: tuple[int, ...] = (16, 3, 105, 12, 7, 24)
    numbers: int = 14
    model_dim: int = 128
    blocks: int = 2
    ladder: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    labelled_rows: int = 256
    unlabelled_rows: int = 768
    threads: int = 2


DEMO = Setting()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the bare loop is told of a step, the TA first, so that nothing but its own work is timed."""

    rows_R: Tensor
    labelled: int
    submodels: list[Submodel]
    weights: list[float]
    w_distill: float
    lr: float


class BareLoop:
    """A training loop as one would write it by hand: no log, no check, nothing to choose."""

    def __init__(self, config: LoopConfig, model: Ranker, dataset: Dataset, teacher_RC: Tensor) -> None:
        self.model = model
        self._config = config
        self._optimizer = build_optimizer(model, config.optimizer)
        self._dataset = dataset
        self._teacher_RC = teacher_RC

    def step(self, planned: Planned) -> None:
        """Take one step."""
        rows_R, L = planned.rows_R, planned.labelled
        alpha, tau = self._config.objective.alpha, self._config.objective.tau
        inputs = {name: tensor[rows_R] for name, tensor in self._dataset.inputs.items()}
        labels_LC = self._dataset.labels_R[rows_R[:L], None]
        found = self.model.logits(inputs, planned.submodels)
        teacher_RC = (self._teacher_RC[rows_R] / tau).sigmoid()
        ta_RC = (found[0].detach() / tau).sigmoid()
        loss = torch.zeros(())
        for at, (logits_RC, weight) in enumerate(zip(found, planned.weights, strict=True)):
            # The entropy that a KL subtracts has no gradient.
            task = F.binary_cross_entropy_with_logits(logits_RC[:L], labels_LC)
            kl = tau**2 * F.binary_cross_entropy_with_logits(logits_RC / tau, teacher_RC)
            loss = loss + weight * ((1 - alpha) * task + alpha * kl)
            if at:
                distill = tau**2 * F.binary_cross_entropy_with_logits(logits_RC / tau, ta_RC)
                loss = loss + planned.w_distill * distill
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.model.parameters(), self._config.optimizer.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = planned.lr
        self._optimizer.step()


def measure(
    setting: Setting, folder: Path, *, blocks: int, steps_per_block: int, clock: str, progress: Progress
) -> dict[str, Any]:
    """Time both loops in alternating blocks; the loop writes into `folder`, a checkpoint after each block.

    Returns:
        `ratio`, the median over blocks of the loop's rows per second over the bare loop's, and its quartiles;
        `largest_difference` between the weights that both end with says whether they did the same work.
    """
    torch.set_num_threads(setting.threads)
    steps = (WARM_UP_BLOCKS + blocks) * steps_per_block
    # One more step than is taken: the last step of a run evaluates.
    config = LoopConfig(steps=steps + 1, eval_every=steps + 1, checkpoint_every=steps + 1)
    dataset, teacher_RC = made_rows(setting, folder)
    batches = make_batches(
        dataset,
        teacher_RC,
        labelled_rows=setting.labelled_rows,
        unlabelled_rows=setting.unlabelled_rows,
        labelled_fraction=0.5,
        seed=config.seed,
    )
    ladder = made_ladder(setting)
    model, twin = (made_model(dataset, ladder) for _ in range(2))
    bare = BareLoop(config, twin, dataset, teacher_RC)
    plan, state = iter(make_plan(config, dataset, batches, ladder, steps)), RunState()
    with as_run(config, folder, model, ladder, batches) as loop:

        def take_steps() -> None:
            target = state.step + steps_per_block
            train(loop, state, stop=lambda: state.step >= target, progress=progress)

        def take_bare_steps() -> None:
            for _ in range(steps_per_block):
                bare.step(next(plan))

        timed = list(alternate(take_steps, take_bare_steps, CLOCKS[clock], blocks=blocks))
    loop_s, bare_s = np.array(timed).T
    low, ratio, high = np.quantile(bare_s / loop_s, [0.25, 0.5, 0.75]).tolist()
    rows = (setting.labelled_rows + setting.unlabelled_rows) * steps_per_block
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    return {
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "goal": GOAL,
        "loop_rows_per_s": rows / float(np.median(loop_s)),
        "bare_rows_per_s": rows / float(np.median(bare_s)),
        "largest_difference": max(float((one - other).detach().abs().max()) for one, other in pairs),
        "blocks": blocks,
        "steps_per_block": steps_per_block,
        "threads": setting.threads,
        "clock": clock,
    }


def alternate(
    loop: Callable[[], None], bare: Callable[[], None], clock: Callable[[], float], *, blocks: int
) -> Iterator[tuple[float, float]]:
    """Seconds of both by turns, whoever was first in one pair being second in the next; the first pair warms up."""
    for block in range(WARM_UP_BLOCKS + blocks):
        seconds = [0.0, 0.0]
        turns = [(0, loop), (1, bare)]
        for at, take in turns if block % 2 else reversed(turns):
            begun = clock()
            take()
            seconds[at] = clock() - begun
        if block >= WARM_UP_BLOCKS:
            yield seconds[0], seconds[1]


def made_rows(setting: Setting, folder: Path) -> tuple[Dataset, Tensor]:
    """Rows with a rule to learn, and the logits [R, C] of a teacher that knows it."""
    rng = np.random.default_rng(0)
    categories = {
        f"category_{at}": rng.integers(0, size, setting.rows)
        for at, size in enumerate(setting.category_sizes)
    }
    numbers = {f"number_{at}": rng.normal(size=setting.rows) for at in range(setting.numbers)}
    truth_R = numbers["number_0"] + np.sin(3 * numbers["number_1"])
    label = (rng.random(setting.rows) < 1 / (1 + np.exp(-truth_R))).astype(np.int8)
    pq.write_table(pa.table({"label": label, **categories, **numbers}), folder / "rows.parquet")
    schema = {"label": "label", "categorical": list(categories), "numeric": list(numbers)}
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema))
    dataset = load_dataset(folder / "rows.parquet", folder / "schema.yaml")
    return dataset, torch.from_numpy(truth_R).float().unsqueeze(1)


def made_ladder(setting: Setting) -> Ladder:
    """The setting's widths, the same in every block."""
    layers = tuple(range(setting.blocks))
    submodels = [
        Submodel(widths=(width,) * setting.blocks, layers=layers, model_dim=setting.model_dim)
        for width in setting.ladder
    ]
    return Ladder(students={student_name(submodel, submodels[-1]): submodel for submodel in submodels})


def made_model(dataset: Dataset, ladder: Ladder) -> Ranker:
    """The same fresh model at every call."""
    torch.manual_seed(0)
    ta, students = ladder.ta, ladder.submodels
    return Ranker(dataset.features, model_dim=ta.model_dim, hidden=ta.widths, students=students)


def make_plan(
    config: LoopConfig, dataset: Dataset, batches: Batches, ladder: Ladder, steps: int
) -> list[Planned]:
    """What each step of the loop will do, worked out beforehand."""
    position = {row_id: row for row, row_id in enumerate(dataset.row_ids_R.tolist())}
    objective = MattaObjective(config.objective, BinaryTask())
    plan = []
    for step in range(steps):
        batch = batches.at(step)
        weights = objective.weights_at(step, config.steps)
        middle = sample_middle(ladder, config.middle, seed=config.seed, step=step)
        chosen = {TA: ladder.ta, STUDENT: ladder.smallest} | ({} if middle is None else {MIDDLE: middle})
        plan.append(
            Planned(
                rows_R=torch.tensor([position[row_id] for row_id in batch.row_ids_R.tolist()]),
                labelled=len(batch.labels_L),
                submodels=list(chosen.values()),
                weights=[weights[name] for name in chosen],
                w_distill=weights["distill"],
                lr=learning_rate(config.optimizer, step, config.steps),
            )
        )
    return plan


@contextmanager
def as_run(
    config: LoopConfig, folder: Path, model: Ranker, ladder: Ladder, batches: Batches
) -> Iterator[Loop]:
    """The loop as a training run has it, with its journal and its checkpoints."""
    optimizer = build_optimizer(model, config.optimizer)

    def save_state(state: RunState) -> None:
        save_checkpoint(folder, state, model, optimizer, fingerprint={}, versions=library_versions())

    def evaluate(_: Sequence[Submodel]) -> list[float]:
        raise RuntimeError("expected no evaluation while time is taken")

    with open_journal(folder, 0, save_state) as journal:
        yield Loop(
            config=config,
            model=model,
            ladder=ladder,
            objective=MattaObjective(config.objective, BinaryTask()),
            optimizer=optimizer,
            batches=batches,
            evaluate=evaluate,
            forward=model.logits,
            journal=journal,
        )


def main(arguments: Sequence[str] | None = None, setting: Setting = DEMO) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=20, help="timed blocks of each loop")
    parser.add_argument("--steps", type=int, default=25, help="steps of a block")
    parser.add_argument("--threads", type=int, default=setting.threads)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that is busy")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, progress_bars() as progress:
        result = measure(
            replace(setting, threads=given.threads),
            Path(folder),
            blocks=given.blocks,
            steps_per_block=given.steps,
            clock=given.clock,
            progress=progress,
        )
    words = f"{result['ratio']:.1%} of the bare loop's rows per second, goal {GOAL:.0%}"
    print(json.dumps(result, indent=1) if given.json else words)


if __name__ == "__main__":
    main()
