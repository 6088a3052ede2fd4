"""What a training run is told, every value checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt

from elastier_trainer.checked import STRICT
from elastier_trainer.objective import ObjectiveConfig
from elastier_trainer.optimizer import OptimizerConfig
from elastier_trainer.sampling import Middle
from elastier_trainer.submodel import Ladder, Submodel, evenly_spaced, student_name
from elastier_trainer.teachers.source import TeacherSource


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The TA: a ranker of `blocks` residual blocks with `hidden` units each."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model_dim: PositiveInt = 128
    blocks: PositiveInt = 2
    hidden: PositiveInt = 1024
    own_norms: bool = False
    """Whether each student has norms and an output head of its own: a few hundred numbers a student."""


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """One rung of the ladder, where a number of hidden units does not say enough."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] | None = None
    """The tier's name; by default what it keeps, such as `w8` or `w8-b0.2-d64`."""
    width: PositiveInt | tuple[PositiveInt, ...] | None = None
    """Hidden units of every kept block, or one number per kept block; the TA's by default."""
    layers: PositiveInt | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """How many blocks are kept, or which; all by default."""
    spacing: Literal["prefix", "even"] = "prefix"
    """Which blocks a number means: the first ones, or as far apart as can be."""
    model_dim: PositiveInt | None = None
    """Kept model dimension; the TA's by default."""

    def submodel(self, model: ModelConfig) -> Submodel:
        """What it keeps of this model.

        Raises:
            ValueError: It keeps what the model does not have.
        """
        layers = self._kept_layers(model.blocks)
        widths = model.hidden if self.width is None else self.width
        if isinstance(widths, int):
            widths = (widths,) * len(layers)
        model_dim = self.model_dim or model.model_dim
        if len(widths) != len(layers):
            raise ValueError(f"expected a width per kept block, got {len(widths)} for {len(layers)} blocks")
        if max(widths) > model.hidden or model_dim > model.model_dim:
            raise ValueError(
                f"expected at most {model.hidden} hidden units and model dimension {model.model_dim}, "
                f"got {max(widths)} and {model_dim}"
            )
        return Submodel(widths=widths, layers=layers, model_dim=model_dim)

    def _kept_layers(self, blocks: int) -> tuple[int, ...]:
        if self.layers is None:
            return tuple(range(blocks))
        if isinstance(self.layers, int):
            if self.layers > blocks:
                raise ValueError(f"expected at most {blocks} layers, got {self.layers}")
            return evenly_spaced(blocks, self.layers) if self.spacing == "even" else tuple(range(self.layers))
        layers = self.layers
        if not layers or list(layers) != sorted(set(layers)) or layers[-1] >= blocks:
            raise ValueError(f"expected ascending indices of {blocks} blocks, got {list(layers)}")
        return layers


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How the training loop goes, whatever the model and the data are."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    steps: PositiveInt = 1000
    eval_every: PositiveInt = 200
    checkpoint_every: PositiveInt = 200
    patience: PositiveInt | None = None
    """Evaluations without a better metric before the run stops; null never stops early."""
    watch: str | None = None
    """The student whose validation metric chooses the best weights; null takes the mean over the ladder."""
    middle: Middle = "uniform"
    """The intermediate student of each step (sandwich rule): one of the ladder, or a mix with a width drawn
    per block."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the forward pass; weights and their updates stay 32-bit."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """One MatTA run: data, model, and how it is trained."""

    data: Path
    schema: Path
    teacher: TeacherSource | None = None
    """Where the teacher's logits come from."""
    labelled_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the labelled training rows whose labels are used; the rest has only the teacher's logits."""
    ladder: Annotated[tuple[PositiveInt | StudentConfig, ...], Field(min_length=1)] = (
        *(8, 16, 32, 64),
        *(128, 256, 512, 1024),
    )
    """Every trained sub-model, from the smallest; the last is the TA. A number is hidden units of every block."""
    model: ModelConfig = field(default_factory=ModelConfig)
    labelled_rows: Annotated[int, Field(ge=0)] = 256
    """Rows with labels in a batch; 0 learns from the teacher alone."""
    unlabelled_rows: Annotated[int, Field(ge=0)] = 0
    """Rows without labels in a batch."""
    threads: PositiveInt = 2
    device: Literal["cpu", "cuda"] = "cpu"
    compile: bool = False
    """Whether torch compiles the forward pass; it takes a minute at first, and needs a C++ compiler."""
    tensorboard: bool = False
    """Whether the run's folder also gets events for TensorBoard."""

    def __post_init__(self) -> None:
        """Refuse values that do not fit each other.

        Raises:
            ValueError: Says which keys contradict each other.
        """
        names = self.students.names
        if self.watch is not None and self.watch not in names:
            raise ValueError(f"watch: expected a student of the ladder {list(names)}, got {self.watch!r}")
        if self.teacher is None and self.objective.alpha > 0:
            raise ValueError(
                f"teacher: expected a source of logits, since objective.alpha is {self.objective.alpha}; "
                "set objective.alpha: 0 to learn from labels alone"
            )
        if not self.labelled_rows + self.unlabelled_rows:
            raise ValueError("labelled_rows, unlabelled_rows: expected rows in a batch, got none")

    @property
    def students(self) -> Ladder:
        """The ladder's sub-models by name.

        Raises:
            ValueError: A rung that the model does not have, two of one name, or a last one that is not the TA.
        """
        rungs: dict[str, Submodel] = {}
        full = StudentConfig().submodel(self.model)
        for index, given in enumerate(self.ladder):
            rung = StudentConfig(width=given) if isinstance(given, int) else given
            try:
                submodel = rung.submodel(self.model)
            except ValueError as error:
                raise ValueError(f"ladder.{index}: {error}") from error
            name = rung.name or student_name(submodel, full)
            if name in rungs or submodel in rungs.values():
                raise ValueError(f"ladder.{index}: expected each student once, got {name!r} again")
            rungs[name] = submodel
        if submodel != full:
            raise ValueError(
                f"ladder: expected the TA last (model.hidden = {self.model.hidden}, all blocks), got {name!r}"
            )
        _check_ascending(self.ladder)
        return Ladder(students=rungs)


def _check_ascending(ladder: Sequence[int | StudentConfig]) -> None:
    widths = [rung for rung in ladder if isinstance(rung, int)]
    if widths != sorted(widths):
        raise ValueError(f"ladder: expected ascending widths, got {widths}")
