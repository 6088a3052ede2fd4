"""Dashboards as code: builds `dashboards/NAME.json`, which Grafana reads, from every `NAME.yaml`.

python deploy/grafana/build_dashboards.py [FOLDER]
"""

import json
import sys
from pathlib import Path
from typing import Literal

import yaml
from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from pydantic import BaseModel, ConfigDict, Field

HERE = Path(__file__).parent
SOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")
GRID_COLUMNS = 24
PANEL_HEIGHT = 8

AnyPanel = stat.Panel | bargauge.Panel | timeseries.Panel


class Section(BaseModel):
    """A mapping of the YAML file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(Section):
    """One panel: what it answers, in which unit, and how to read it."""

    title: str = Field(pattern=r"\?$")
    text: str = Field(min_length=1)
    kind: Literal["number", "bars", "lines", "areas"]
    unit: str
    width: int = Field(gt=0, le=GRID_COLUMNS)
    maximum: float | None = None
    queries: dict[str, str] = Field(min_length=1, max_length=6)
    """Legend → PromQL."""


class Row(Section):
    """A heading with its panels, laid out from left to right."""

    title: str
    panels: tuple[Question, ...] = Field(min_length=1)


class Variable(Section):
    """A choice at the head of the dashboard: all values, or some."""

    label: str
    query: str


class Board(Section):
    """A dashboard."""

    title: str
    text: str
    variables: dict[str, Variable]
    rows: tuple[Row, ...] = Field(min_length=1)


def visual(question: Question) -> AnyPanel:
    """The builder of a panel's kind, with what only that kind has."""
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    if question.kind == "number":
        return stat.Panel().reduce_options(last).graph_mode(options.BigValueGraphMode.AREA)
    if question.kind == "bars":
        return bargauge.Panel().reduce_options(last).orientation(options.VizOrientation.HORIZONTAL)
    lines = timeseries.Panel().axis_soft_min(0)
    if question.kind == "areas":
        stacking = common.StackingConfig().mode(options.StackingMode.NORMAL)
        return lines.stacking(stacking).fill_opacity(40)
    return lines


def panel(question: Question, number: int, x: int, y: int) -> AnyPanel:
    """One panel in its place; the SDK leaves ids, query letters and positions to the caller."""
    place = model.GridPos(h=PANEL_HEIGHT, w=question.width, x=x, y=y)
    built = visual(question).id(number).title(question.title).description(question.text)
    built.unit(question.unit).datasource(SOURCE).grid_pos(place)
    if question.maximum is not None:
        built.max(question.maximum)
    for letter, (legend, expr) in zip("ABCDEF", question.queries.items(), strict=False):
        built.with_target(prometheus.Dataquery().ref_id(letter).expr(expr).legend_format(legend).range())
    return built


def variable(name: str, given: Variable) -> dashboards.QueryVariable:
    """A template variable, set to all values at first."""
    chosen = model.VariableOption(selected=True, text="All", value="$__all")
    built = dashboards.QueryVariable(name).label(given.label).query(given.query).datasource(SOURCE)
    built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
    return built.current(chosen)


def build(board: Board, uid: str) -> model.Dashboard:
    """The whole dashboard in Grafana's own model."""
    built = dashboards.Dashboard(board.title).uid(uid).description(board.text).tags(["elastier"]).readonly()
    built.time("now-15m", "now").refresh("5s").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for name, given in board.variables.items():
        built.with_variable(variable(name, given))
    number = y = 0
    for row in board.rows:
        number += 1
        built.with_row(
            dashboards.Row(row.title).id(number).grid_pos(model.GridPos(h=1, w=GRID_COLUMNS, x=0, y=y))
        )
        x, y = 0, y + 1
        for question in row.panels:
            if x + question.width > GRID_COLUMNS:
                x, y = 0, y + PANEL_HEIGHT
            number += 1
            built.with_panel(panel(question, number, x, y))
            x += question.width
        y += PANEL_HEIGHT
    return built.build()


def main(folder: Path = HERE / "dashboards") -> None:
    """Write every dashboard into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(HERE.glob("*.yaml")):
        board = Board.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
        built = build(board, f"elastier-{source.stem}")
        content = json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / f"{source.stem}.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
