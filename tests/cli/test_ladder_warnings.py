"""A tier that costs more and answers worse than a cheaper one is pointed at."""

from dataclasses import replace

import pytest
from rich.console import Console

from elastier_cli.tier_table import ladder_warnings, tier_tables
from elastier_contract.bundle import Bundle


def with_aucs(bundle: Bundle, *aucs: float) -> Bundle:
    """The same bundle, but of these qualities, from the cheapest tier on."""
    tiers = tuple(
        tier.model_copy(update={"quality": tier.quality.model_copy(update={"value": auc})})
        for tier, auc in zip(bundle.manifest.tiers, aucs, strict=True)
    )
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"tiers": tiers}))


@pytest.mark.parametrize("aucs", [(0.70, 0.75, 0.80), (0.70, 0.75, 0.75), (0.7, 0.7, 0.7)])
def test_a_ladder_that_does_not_fall_has_none(tiny_bundle: Bundle, aucs: tuple[float, ...]) -> None:
    assert ladder_warnings(with_aucs(tiny_bundle, *aucs)) == []


def test_each_tier_is_compared_with_the_best_cheaper_one(tiny_bundle: Bundle) -> None:
    assert ladder_warnings(with_aucs(tiny_bundle, 0.75, 0.70, 0.72)) == [
        "w16 costs more than w4 and is worse: AUC 0.7000 against 0.7500",
        "w64 costs more than w4 and is worse: AUC 0.7200 against 0.7500",
    ]
    assert ladder_warnings(with_aucs(tiny_bundle, 0.70, 0.80, 0.75)) == [
        "w64 costs more than w16 and is worse: AUC 0.7500 against 0.8000"
    ]


def test_people_read_it_below_the_tables_within_80_columns(tiny_bundle: Bundle) -> None:
    terminal = Console(width=80)
    with terminal.capture() as captured:
        terminal.print(tier_tables(with_aucs(tiny_bundle, 0.75, 0.70, 0.80)))
    lines = captured.get().splitlines()
    assert lines[-1] == "warning: w16 costs more than w4 and is worse: AUC 0.7000 against 0.7500"
    assert max(map(len, lines)) <= 80
