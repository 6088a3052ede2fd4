"""Make a model of your own nested, train all its students in one run, and export them as a bundle.

    python examples/own_model.py --out digits/
    elastier serve digits/

The data are scikit-learn's handwritten digits; docs/own-model.md explains each step.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_predict, train_test_split
from torch import Tensor, nn

from elastier_contract.bundle import Bundle
from elastier_exporter.own import export_model
from elastier_trainer.nest import NestSpec, nest
from elastier_trainer.objective import MattaObjective, ObjectiveConfig
from elastier_trainer.task import MulticlassTask


class Digits(nn.Module):
    """64 pixels → 10 logits: an ordinary network, in which nothing knows of nesting."""

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        self.first = nn.Linear(64, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.third = nn.Linear(hidden, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [rows, 10] of images [rows, 64]."""
        logits: Tensor = self.third(self.second(self.first(pixels).relu()).relu())
        return logits


def train_and_export(out: Path, steps: int) -> Bundle:
    """Train every student at once, and write the bundle `out`; half of the images is held out to judge it."""
    x, y, x_test, y_test = split_digits()
    teacher = teacher_logits(x, y)
    # [the loop]
    spec = NestSpec(pairs=[("first", "second"), ("second", "third")])
    model = nest(Digits(), spec, example_inputs={"pixels": x[:8]})
    ladder = model.ladder(widths=(8, 64))
    task = MulticlassTask(classes=10)
    objective = MattaObjective(ObjectiveConfig(), task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        rows = torch.randint(len(x), (256,))
        *students, ta = model.logits({"pixels": x[rows]}, ladder.submodels)
        named, seen = dict(zip(ladder.names[:-1], students, strict=True)), teacher[rows]
        terms = objective.terms(
            ta_RC=ta, students_RC=named, labels_L=y[rows], teacher_RC=seen, step=step, steps=steps
        )
        optimizer.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images = {"pixels": x_test}
    return export_model(model, ladder, out, inputs=images, labels_R=y_test, task=task, name="digits")
    # [the loop]


def split_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on, images and labels to test on."""
    pixels, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        pixels / 16, labels, test_size=0.5, random_state=0, stratify=labels
    )
    return torch.tensor(x).float(), torch.tensor(y), torch.tensor(x_test).float(), torch.tensor(y_test)


def teacher_logits(x: Tensor, y: Tensor) -> Tensor:
    """Logits of a forest of trees, each image's from trees that have not seen its label."""
    forest = ExtraTreesClassifier(100, random_state=0)
    shares = cross_val_predict(forest, x.numpy(), y.numpy(), cv=5, method="predict_proba")
    return torch.tensor(shares).float().clamp(min=1e-3).log()


def main() -> None:
    """Train, export, and print each student's accuracy on the images that were not trained on."""
    parser = argparse.ArgumentParser(description="Nest a model, train its students together, export them.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    for tier in train_and_export(arguments.out, arguments.steps).manifest.tiers:
        print(f"{tier.name:>5}  accuracy {tier.quality.value:.3f}  {tier.flops_per_row:>7,} FLOPs a row")


if __name__ == "__main__":
    main()
