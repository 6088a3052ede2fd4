from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from elastier_trainer.nest import NestedModule, NestSpec, nest
from elastier_trainer.submodel import Submodel

# Warnings of torch's exporter about itself.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:# The axis name"),
]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.act, self.down = (
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.PReLU(8),
            nn.Linear(8, 6),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.down(self.act(self.norm(self.up(x))))
        return added


class Model(nn.Module):
    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 6)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(6, 1)
        self.inside = inside

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        x = self.embed(ids).sum(dim=1) + numbers
        for block in self.blocks:
            x = block(x) if self.inside else x + block(x)
        outputs: Tensor = self.head(x)
        return outputs.squeeze(1)


def trained(*, inside: bool) -> NestedModule:
    """A model whose batch norms have seen rows, so that their statistics matter."""
    torch.manual_seed(0)
    spec = NestSpec(
        pairs=[("blocks.*.up", "blocks.*.norm", "blocks.*.act", "blocks.*.down")],
        depth="blocks",
        residual="inside" if inside else "outside",
    )
    model = nest(Model(inside=inside), spec, rows(9)).train()
    for _ in range(3):
        model.logits(rows(9), [model.full])
    return model.eval()


def rows(count: int) -> dict[str, Tensor]:
    return {"ids": torch.arange(count * 2).reshape(count, 2) % 5, "numbers": torch.randn(count, 6)}


CASES: list[Any] = [
    pytest.param(True, Submodel(widths=(3, 5, 8), layers=(0, 1, 2), model_dim=0), id="narrower blocks"),
    pytest.param(False, Submodel(widths=(4, 2), layers=(0, 2), model_dim=0), id="a block left out"),
]


@pytest.mark.parametrize(("inside", "part"), CASES)
def test_an_extracted_submodel_answers_alike_in_onnx_runtime(
    inside: bool, part: Submodel, tmp_path: Path
) -> None:
    model = trained(inside=inside)
    student = model.extract(part)
    path = tmp_path / "student.onnx"
    shapes = ({0: "rows"}, {0: "rows"})
    example = tuple(rows(4).values())
    torch.onnx.export(
        student, example, path, dynamo=True, optimize=False, dynamic_shapes=shapes, verbose=False
    )
    inputs = rows(11)
    (got,) = onnxruntime.InferenceSession(path).run(
        None, {name: tensor.numpy() for name, tensor in inputs.items()}
    )
    expected = model.logits(inputs, [part])[0].detach()
    torch.testing.assert_close(torch.from_numpy(got)[:, None], expected, rtol=0, atol=1e-4)
