"""The schema file: what the columns of a data file mean.

```yaml
label: late                   # 0 or 1
row_id: flight                # optional: unique integers; the row number where it is left out
categorical: [carrier, hour]  # text or integers; the vocabulary is that of the training rows
numeric: [distance, temp]     # finite numbers; mean and deviation are those of the training rows
teacher_only:                 # optional: what the teacher may see, but no served model
  categorical: []
  numeric: [departures]
split:
  by: random
  seed: 0
  train: 0.7
  validation: 0.1
  test: 0.2
```
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from elastier_contract.model import FrozenModel
from elastier_trainer.errors import DataError

Name = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class RandomSplit(FrozenModel):
    """Every row goes to one split, by chance; the fractions sum to 1."""

    by: Literal["random"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0
    train: Fraction = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2

    @model_validator(mode="after")
    def _sum_to_one(self) -> "RandomSplit":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self


SplitSchema = RandomSplit
"""How rows are split; a further way is a further model here, told apart by its `by`."""


class TeacherOnly(FrozenModel):
    """Privileged columns: known when a teacher is trained, but not when a request is answered."""

    categorical: tuple[Name, ...] = ()
    numeric: tuple[Name, ...] = ()


class DataSchema(FrozenModel):
    """What the columns of a data file mean; columns that are not named here are ignored."""

    label: Name
    row_id: Name | None = None
    categorical: tuple[Name, ...] = ()
    numeric: tuple[Name, ...] = ()
    teacher_only: TeacherOnly = TeacherOnly()
    split: SplitSchema = RandomSplit()

    @model_validator(mode="after")
    def _each_column_once(self) -> "DataSchema":
        if not self.categorical and not self.numeric:
            raise ValueError("at least one categorical or numeric column is needed")
        twice = [name for name, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise ValueError(f"every column has one role, but {twice} are named twice")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column named here."""
        row_id = () if self.row_id is None else (self.row_id,)
        secret = self.teacher_only
        return (self.label, *row_id, *self.categorical, *self.numeric, *secret.categorical, *secret.numeric)


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
