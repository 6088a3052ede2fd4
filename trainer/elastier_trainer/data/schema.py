"""The schema file: what the columns of a data file mean; `docs/data.md` teaches it.

```yaml
label: late                   # 0 or 1; or {name: price, kind: regression}, {name: city, kind: multiclass}
row_id: flight                # optional: unique integers; the row number where it is left out
group: customer               # optional: rows that belong together
unlabelled: keep              # optional: rows without a label train by a teacher's logits alone
categorical:                  # text or integers; the vocabulary is that of the training rows
  - carrier
  - {name: city, min_count: 20, max_values: 1000}    # what is left out shares one row
  - {name: user, hash_buckets: 4096}                 # no vocabulary at all
numeric: [distance, temp]     # finite numbers; mean and deviation are those of the training rows
teacher_only:                 # optional: what the teacher may see, but no served model
  categorical: []
  numeric: [departures]
split: {by: random, seed: 0, train: 0.7, validation: 0.1, test: 0.2}
# or  {by: time, column: departed} | {by: group, seed: 0} | {by: column, column: part}
```
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from elastier_contract.model import FrozenModel
from elastier_trainer.errors import DataError

Name = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
LabelKind = Literal["binary", "multiclass", "regression"]


class LabelSchema(FrozenModel):
    """The column that is learned, and what kind of value it holds."""

    name: Name
    kind: LabelKind = "binary"


class CategorySchema(FrozenModel):
    """A categorical column and which of its values get an embedding of their own."""

    name: Name
    min_count: Annotated[int, Field(ge=1)] | None = None
    """Values in fewer training rows share one embedding."""
    max_values: Annotated[int, Field(ge=1)] | None = None
    """Only the most frequent values keep their own."""
    hash_buckets: Annotated[int, Field(ge=2, le=2**31 - 2)] | None = None
    """Every value goes to one of so many embeddings by its hash; nothing is learned from the data."""

    @model_validator(mode="after")
    def _one_way(self) -> "CategorySchema":
        if self.hash_buckets is not None and (self.min_count, self.max_values) != (None, None):
            raise ValueError("hash_buckets leaves no vocabulary for min_count or max_values to shorten")
        return self


def _form(value: Any) -> str:
    return "name" if isinstance(value, str) else "options"


Label = Annotated[Annotated[Name, Tag("name")] | Annotated[LabelSchema, Tag("options")], Discriminator(_form)]
Category = Annotated[
    Annotated[Name, Tag("name")] | Annotated[CategorySchema, Tag("options")], Discriminator(_form)
]


class Shares(Protocol):
    """How many of all rows each split gets, about."""

    @property
    def train(self) -> float:
        """Share of this split."""
        ...

    @property
    def validation(self) -> float:
        """Share of this split."""
        ...

    @property
    def test(self) -> float:
        """Share of this split."""
        ...


S = TypeVar("S", bound=Shares)


def _sum_to_one(split: S) -> S:
    total = split.train + split.validation + split.test
    if abs(total - 1) > 1e-6:
        raise ValueError(f"train + validation + test must be 1, got {total:g}")
    return split


class RandomSplit(FrozenModel):
    """Every row goes to one split, by chance."""

    by: Literal["random"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0
    train: Fraction = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2

    _shares = model_validator(mode="after")(_sum_to_one)


class TimeSplit(FrozenModel):
    """Train on the earliest rows, test on the latest; rows of one time stay together."""

    by: Literal["time"] = "time"
    column: Name
    """Numbers, dates, or times (ISO 8601 where they are text)."""
    train: Fraction = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2

    _shares = model_validator(mode="after")(_sum_to_one)


class GroupSplit(FrozenModel):
    """Every group goes to one split as a whole, by a hash of its value."""

    by: Literal["group"] = "group"
    seed: Annotated[int, Field(ge=0)] = 0
    train: Fraction = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2

    _shares = model_validator(mode="after")(_sum_to_one)


class ColumnSplit(FrozenModel):
    """A column says `train`, `validation` or `test` in every row."""

    by: Literal["column"] = "column"
    column: Name


def _way(value: Any) -> Any:
    return value.get("by", "random") if isinstance(value, dict) else getattr(value, "by", None)


SplitSchema = Annotated[
    Annotated[RandomSplit, Tag("random")]
    | Annotated[TimeSplit, Tag("time")]
    | Annotated[GroupSplit, Tag("group")]
    | Annotated[ColumnSplit, Tag("column")],
    Discriminator(
        _way, custom_error_type="split_by", custom_error_message="by: expected random, time, group or column"
    ),
]
"""How rows are split, told apart by its `by`."""


class TeacherOnly(FrozenModel):
    """Privileged columns: known when a teacher is trained, but not when a request is answered."""

    categorical: tuple[Category, ...] = ()
    numeric: tuple[Name, ...] = ()


class DataSchema(FrozenModel):
    """What the columns of a data file mean; columns that are not named here are ignored."""

    label: Label
    row_id: Name | None = None
    group: Name | None = None
    """Rows of one value belong together; it may be a feature too."""
    unlabelled: Literal["keep"] | None = None
    """What to do with rows without a label; None refuses them."""
    categorical: tuple[Category, ...] = ()
    numeric: tuple[Name, ...] = ()
    teacher_only: TeacherOnly = TeacherOnly()
    split: SplitSchema = RandomSplit()

    @model_validator(mode="after")
    def _each_column_once(self) -> "DataSchema":
        if not self.categorical and not self.numeric:
            raise ValueError("at least one categorical or numeric column is needed")
        twice = [name for name, count in Counter(self._roles).items() if count > 1]
        if twice:
            raise ValueError(f"every column has one role, but {twice} are named twice")
        if isinstance(self.split, GroupSplit) and self.group is None:
            raise ValueError("a split by group needs the group's column: group: NAME")
        if self.target.name in (self.group, self.split_column):
            raise ValueError(f"the label {self.target.name!r} can neither split nor group the rows")
        if isinstance(self.split, ColumnSplit) and self.split.column in self._roles:
            raise ValueError(f"the column {self.split.column!r} names the split, so it has no other role")
        return self

    @property
    def target(self) -> LabelSchema:
        """The label's column and kind."""
        return self.label if isinstance(self.label, LabelSchema) else LabelSchema(name=self.label)

    @property
    def split_column(self) -> str | None:
        """The column that a split by time or by column reads."""
        return self.split.column if isinstance(self.split, TimeSplit | ColumnSplit) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column named here, once."""
        named = (name for name in (self.group, self.split_column) if name is not None)
        return tuple(dict.fromkeys((*self._roles, *named)))

    @property
    def row_columns(self) -> tuple[str, ...]:
        """The columns that say what a row is for: label, id, group and split."""
        named = (self.target.name, self.row_id, self.group, self.split_column)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def categories(self, *, with_teacher_columns: bool = False) -> tuple[CategorySchema, ...]:
        """The categorical columns with their options, the teacher's last."""
        secret = self.teacher_only.categorical if with_teacher_columns else ()
        return tuple(map(_category, (*self.categorical, *secret)))

    def numbers(self, *, with_teacher_columns: bool = False) -> tuple[str, ...]:
        """The numeric columns, the teacher's last."""
        return self.numeric + (self.teacher_only.numeric if with_teacher_columns else ())

    @property
    def _roles(self) -> tuple[str, ...]:
        """Columns that may be named once only."""
        row_id = () if self.row_id is None else (self.row_id,)
        names = (category.name for category in self.categories(with_teacher_columns=True))
        return (self.target.name, *row_id, *names, *self.numbers(with_teacher_columns=True))


def _category(category: str | CategorySchema) -> CategorySchema:
    return category if isinstance(category, CategorySchema) else CategorySchema(name=category)


def read_schema(path: Path) -> DataSchema:
    """Read a schema file.

    Raises:
        DataError: No such file, not YAML, an unknown key, or a wrong value; names every one.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: expected a schema file, cannot read it: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return DataSchema.model_validate(document)
    except ValidationError as error:
        findings = [
            f"{'.'.join(map(str, finding['loc'])) or 'top level'}: {finding['msg']}"
            for finding in error.errors(include_url=False, include_input=False)
        ]
        raise DataError(f"{path}: {'; '.join(findings)}") from error


def schema_text(schema: DataSchema) -> str:
    """A schema as the YAML that `read_schema` reads."""
    document = schema.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(document, sort_keys=False)
