"""Make a model of your own nested, train all its students in one run, and export each to ONNX.

    python examples/own_model.py --out digits/

The data are scikit-learn's handwritten digits; docs/own-model.md explains each step.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_predict, train_test_split
from torch import Tensor, nn

from elastier_trainer.nest import NestedModule, NestSpec, nest
from elastier_trainer.objective import MattaObjective, ObjectiveConfig
from elastier_trainer.submodel import Ladder
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


def train_and_export(
    x: Tensor, y: Tensor, teacher: Tensor, out: Path, steps: int
) -> tuple[NestedModule, Ladder]:
    """Train the ladder on images x and labels y, and write `<student>.onnx` for each student."""
    # [the loop]
    spec = NestSpec(pairs=[("first", "second"), ("second", "third")])
    model = nest(Digits(), spec, example_inputs={"pixels": x[:8]})
    ladder = model.ladder(widths=(8, 64))
    objective = MattaObjective(ObjectiveConfig(), MulticlassTask(classes=10))
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
    for name, submodel in ladder.students.items():
        student, path = model.extract(submodel).eval(), out / f"{name}.onnx"
        torch.onnx.export(student, (x[:8],), path, dynamic_shapes=({0: "rows"},), verbose=False)
    # [the loop]
    return model, ladder


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


def accuracies(model: NestedModule, ladder: Ladder, x: Tensor, y: Tensor) -> dict[str, float]:
    """Share of the images that each student names rightly."""
    model.eval()
    with torch.no_grad():
        logits = model.logits({"pixels": x}, ladder.submodels)
    named = zip(ladder.names, logits, strict=True)
    return {name: float((logits_RC.argmax(dim=1) == y).float().mean()) for name, logits_RC in named}


def main() -> None:
    """Train, export, and print each student's accuracy on the images that were not trained on."""
    parser = argparse.ArgumentParser(description="Nest a model, train its students together, export each.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the .onnx files")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    x, y, x_test, y_test = split_digits()
    model, ladder = train_and_export(x, y, teacher_logits(x, y), arguments.out, arguments.steps)
    for name, accuracy in accuracies(model, ladder, x_test, y_test).items():
        print(f"{name:>5}  {accuracy:.3f}  {model.flops_per_row(ladder.students[name]):>7,} FLOPs a row")


if __name__ == "__main__":
    main()
