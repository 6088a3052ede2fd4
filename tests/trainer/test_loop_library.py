"""The loop as a library: a model, batches and a loss of one's own, no file and no run's folder."""

from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from elastier_trainer.checkpoint import RunState
from elastier_trainer.config import LoopConfig
from elastier_trainer.loop import Loop, train
from elastier_trainer.nest import NestedModule, NestSpec, nest
from elastier_trainer.objective import MattaObjective, ObjectiveConfig
from elastier_trainer.optimizer import OptimizerConfig, build_optimizer
from elastier_trainer.sampling import Batch
from elastier_trainer.submodel import Submodel
from elastier_trainer.task import MulticlassTask


class SmoothedTask(MulticlassTask):
    """A loss of one's own: cross-entropy with smoothed labels."""

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        return F.cross_entropy(logits_LC, labels_L, label_smoothing=0.1)


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.down(self.up(pixels).relu())
        return logits


class DigitBatches:
    """128 images a step, drawn by the step alone."""

    def __init__(self, x_RP: Tensor, labels_R: Tensor) -> None:
        self.x_RP = x_RP
        self.labels_R = labels_R

    def at(self, step: int) -> Batch:
        rows = torch.randint(len(self.x_RP), (128,), generator=torch.Generator().manual_seed(step))
        inputs = {"pixels": self.x_RP[rows]}
        return Batch(inputs=inputs, labels_L=self.labels_R[rows], teacher_RC=None, row_ids_R=rows)


def test_a_nested_module_trains_in_the_loop_with_a_loss_of_its_own() -> None:
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    x_RP, labels_R = torch.tensor(pixels / 16).float(), torch.tensor(digits)
    model: NestedModule = nest(Digits(), NestSpec(pairs=[("up", "down")]))
    ladder = model.ladder(widths=(8, 32))
    config = LoopConfig(steps=150, eval_every=50, optimizer=OptimizerConfig(lr=0.01))
    task = SmoothedTask(classes=10)

    def accuracy(submodels: Sequence[Submodel]) -> list[float]:
        with torch.no_grad():
            found = model.logits({"pixels": x_RP[1200:]}, submodels)
        return [task.evaluate(logits_RC, labels_R[1200:]).value for logits_RC in found]

    loop = Loop(
        config=config,
        model=model,
        ladder=ladder,
        objective=MattaObjective(ObjectiveConfig(alpha=0.0), task),
        optimizer=build_optimizer(model, config.optimizer),
        batches=DigitBatches(x_RP[:1200], labels_R[:1200]),
        evaluate=accuracy,
        forward=model.logits,
    )
    state = RunState()
    assert train(loop, state) == "all steps"
    assert state.best is not None
    assert list(state.best.validation) == ["w8", "w32", "w64"]
    assert min(state.best.validation.values()) > 0.5  # eight units, and chance is 0.1
    assert state.best.validation["w64"] > 0.88
