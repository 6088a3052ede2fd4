"""Bundles of large rankers, to measure sharing on: untrained, as memory and latency do not depend on what was learned.

    python benchmarks/rankers.py --model-dim 256 --hidden 2048 --blocks 4 --tiers 16 --out build/bench/d256
    python benchmarks/rankers.py --model-dim 512 --hidden 8192 --blocks 4 --tiers 16 --out build/bench/d512
    python benchmarks/rankers.py --model-dim 256 --hidden 2048 --blocks 4 --tiers 32 --mixes --out build/bench/mixes
    elastier bench-bundle build/bench/d512 --json

Widths are 32, 64, 128 and multiples of 256, which share packed weights; where there are not enough of them for so many
tiers, the widest are there with every other block too. `--mixes` draws a width for every block by itself, as a
frontier has them.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from elastier_cli.console import progress_bars
from elastier_contract.features import CATEGORICAL, NUMERIC, CategoricalColumn, FeatureSchema, NumericColumn
from elastier_exporter.own import export_model
from elastier_exporter.profiling import Measuring
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.submodel import Ladder, Submodel, evenly_spaced, student_name
from elastier_trainer.task import BinaryTask

NARROW, STEP = (32, 64, 128), 256
CATEGORY_SIZES = (16, 3, 105, 12, 7, 24)
NUMBERS = 14
ROWS = 256


def widths(hidden: int, count: int) -> list[int]:
    """At most `count` widths up to all hidden units, in about even steps of their logarithm."""
    known = np.array([*NARROW, *range(STEP, hidden + 1, STEP)])
    if len(known) <= count:
        return [int(width) for width in known]
    chosen: set[int] = set()
    for wanted in np.geomspace(hidden, NARROW[0], count):
        free = known[~np.isin(known, list(chosen))]
        chosen.add(int(free[np.abs(np.log(free / wanted)).argmin()]))
    return sorted(chosen)


def make_ladder(full: Submodel, tiers: int, *, mixes: bool) -> Ladder:
    """Uniform tiers or mixes, the TA last."""
    hidden, blocks = full.widths[0], len(full.layers)
    uniform = [replace(full, widths=(width,) * blocks) for width in widths(hidden, tiers)]
    if mixes:
        rng = np.random.default_rng(0)
        steps = widths(hidden, 8)
        drawn = {tuple(int(width) for width in rng.choice(steps, blocks)) for _ in range(tiers - 2)}
        uniform = [uniform[0], *(replace(full, widths=mix) for mix in drawn), full]
    kept = evenly_spaced(blocks, max(1, blocks // 2))
    shallow = [replace(tier, widths=tier.widths[: len(kept)], layers=kept) for tier in reversed(uniform)]
    submodels = [*uniform, *shallow[: tiers - len(uniform)]]
    return Ladder(students={student_name(submodel, full): submodel for submodel in submodels})


def main() -> None:
    """Write one bundle."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-dim", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--tiers", type=int, default=16)
    parser.add_argument("--mixes", action="store_true", help="a width for every block by itself")
    parser.add_argument("--layout", choices=("a", "d"), default="d")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    features = FeatureSchema(
        categorical=tuple(
            CategoricalColumn(name=f"c{index}", values=tuple(map(str, range(size))))
            for index, size in enumerate(CATEGORY_SIZES)
        ),
        numeric=tuple(NumericColumn(name=f"x{index}", mean=0.0, std=1.0) for index in range(NUMBERS)),
    )
    model = Ranker(
        features, model_dim=arguments.model_dim, hidden=(arguments.hidden,) * arguments.blocks
    ).eval()
    ladder = make_ladder(model.full, arguments.tiers, mixes=arguments.mixes)
    ids = [torch.randint(0, size, (ROWS,)) for size in CATEGORY_SIZES]
    with progress_bars() as progress:
        bundle = export_model(
            model,
            ladder,
            arguments.out,
            inputs={CATEGORICAL: torch.stack(ids, dim=1), NUMERIC: torch.randn(ROWS, NUMBERS)},
            labels_R=torch.arange(ROWS).remainder(2).float(),
            task=BinaryTask(),
            name="ranker",
            layout=arguments.layout,
            limits={CATEGORICAL: [size + 1 for size in CATEGORY_SIZES]},
            measuring=Measuring(runs=5),
            progress=progress,
        )
    print(
        f"{bundle.path}: {len(bundle.manifest.tiers)} tiers, {bundle.manifest.provenance.slice_seconds_per_tier} s each"
    )


if __name__ == "__main__":
    main()
