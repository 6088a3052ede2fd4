"""Recipes compared: every recipe with every baseline, optimizer with optimizer, width with width.

Pure functions of the metric by recipe, optimizer, width and seed.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from elastier_trainer.study.statistics import (
    BySeed,
    Estimate,
    interaction,
    ladder_steps,
    paired_difference,
    relative_loss_change,
)

Row = dict[str, Any]
Cell = tuple[str, str, int | str]
"""Recipe, optimizer, width."""
Cells = Mapping[Cell, BySeed]


def cell_row(cell: Cell, **estimates: Estimate) -> Row:
    """A row for a cell, with an estimate under its name and the ends of its interval."""
    recipe, optimizer, width = cell
    row: Row = {"recipe": recipe, "optimizer": optimizer, "width": width}
    for name, found in estimates.items():
        row |= {name: found.mean, "low": found.low, "high": found.high, "seeds": found.seeds}
    return row


def _compared(left: BySeed, right: BySeed) -> Row | None:
    """Relative change of loss with its interval, and the plain difference of the metric with its own."""
    change, difference = relative_loss_change(left, right), paired_difference(left, right)
    if change is None or difference is None:
        return None
    return {
        "relative_loss_change": change.mean,
        "low": change.low,
        "high": change.high,
        "seeds": change.seeds,
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def paired_rows(cells: Cells, baselines: Sequence[str]) -> Iterator[Row]:
    """Every recipe against every baseline of the same width and optimizer.

    A baseline is compared with those before it, not with those after it too.
    """
    for place, baseline in enumerate(baselines):
        for recipe, optimizer, width in cells:
            other = cells.get((baseline, optimizer, width))
            if other is None or recipe in baselines[: place + 1]:
                continue
            compared = _compared(cells[recipe, optimizer, width], other)
            if compared:
                cell = {"recipe": recipe, "optimizer": optimizer, "baseline": baseline, "width": width}
                yield cell | compared


def across_rows(cells: Cells, baselines: Sequence[str], *, reference: str) -> Iterator[Row]:
    """Every recipe with another optimizer against itself, and the baselines, with the first one."""
    for recipe, optimizer, width in cells:
        for baseline in dict.fromkeys((recipe, *baselines)):
            other = cells.get((baseline, reference, width))
            if optimizer != reference and other is not None:
                compared = _compared(cells[recipe, optimizer, width], other)
                if compared:
                    yield {
                        "recipe": recipe,
                        "optimizer": optimizer,
                        "baseline": baseline,
                        "baseline_optimizer": reference,
                        "width": width,
                    } | compared


def ladder_rows(cells: Cells) -> Iterator[Row]:
    """Each width of a recipe less the next smaller one."""
    widths: dict[tuple[str, str], list[int]] = defaultdict(list)
    for recipe, optimizer, width in cells:
        if isinstance(width, int):
            widths[recipe, optimizer].append(width)
    for (recipe, optimizer), found in widths.items():
        rungs = sorted(found)
        steps = ladder_steps([cells[recipe, optimizer, width] for width in rungs])
        for (narrower, wider), step in zip(itertools.pairwise(rungs), steps, strict=True):
            if step is not None:
                yield cell_row((recipe, optimizer, wider), difference=step) | {"next_smaller": narrower}


def super_additivity_rows(
    cells: Cells, baselines: Sequence[str], *, nested: Collection[str], reference: str
) -> Iterator[Row]:
    """Does a nested recipe gain more with another optimizer than recipe and optimizer gain alone?

    Over a baseline of networks by themselves, each with the reference optimizer.
    """
    for baseline, (recipe, optimizer, width) in itertools.product(baselines, cells):
        four = {
            "both": cells[recipe, optimizer, width],
            "first": cells.get((recipe, reference, width)),
            "second": cells.get((baseline, optimizer, width)),
            "neither": cells.get((baseline, reference, width)),
        }
        found = {name: by_seed for name, by_seed in four.items() if by_seed is not None}
        if recipe not in nested or baseline in nested or optimizer == reference or len(found) < len(four):
            continue
        beyond = interaction(**found)
        if beyond is not None:
            yield cell_row((recipe, optimizer, width), beyond_the_sum=beyond) | {
                "baseline": baseline,
                "reference": reference,
            }
