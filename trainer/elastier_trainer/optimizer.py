"""The optimizers, their learning rates, and their state as named tensors.

SOAP (arXiv 2409.11321) and Shampoo (arXiv 1802.09568, 2002.09018) precondition a matrix from both sides; they
take the model's matrices, and AdamW takes the rest: vectors, embeddings, matrices with a huge side.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, PositiveInt
from torch import Tensor, nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from elastier_trainer.averaging import WeightAverage
from elastier_trainer.checked import STRICT, Fraction, Momentum, Positive, Weight
from elastier_trainer.errors import CheckpointError, DivergenceError
from elastier_trainer.optimizer_state import begin_state, decode, encode, tensors_in
from elastier_trainer.schedule import Shape, rate_at

VALUES = "values.json"
"""Name of the tensor that holds, as bytes, all of the state that is no tensor."""
AVERAGE = "average:"


@dataclass(frozen=True, kw_only=True)
class PreconditionerConfig:
    """How SOAP and Shampoo precondition matrices."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    betas: tuple[Momentum, Momentum] = (0.9, 0.9)
    """Decay of the momentum, and of second moments and factors."""
    every: PositiveInt = 2
    """Steps between two computations of the factors' eigenbasis or roots; older ones are cheaper and worse."""
    max_side: PositiveInt = 4096
    """A matrix with a longer side is left to AdamW."""
    block_size: PositiveInt = 128
    """Shampoo cuts longer sides into blocks with factors of their own."""
    start_step: PositiveInt = 10
    """Shampoo goes by its graft alone until this step."""
    eps: Positive = 1e-4
    """Shampoo's ridge, relative to a factor's largest eigenvalue."""
    graft: Literal["rmsprop", "adagrad", "sgd", "sqrtn"] = "rmsprop"
    """Whose step length Shampoo takes over, matrix by matrix."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Linear warm-up to `lr`, then the schedule; gradients are clipped to `clip_norm`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Literal["adamw", "soap", "shampoo"] = "adamw"
    lr: Positive = 0.01
    lr_rest: Positive | None = None
    """Of what SOAP or Shampoo leave to AdamW; null takes `lr`."""
    weight_decay: Weight = 0.01
    """Decoupled, on matrices only: pulling biases and norms to 0 regularises nothing."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Of AdamW."""
    schedule: Shape = "cosine"
    warmup_fraction: Fraction = 0.05
    clip_norm: Positive = 1.0
    ema_decay: Momentum | None = None
    """Decay of the running average of the weights, which is then what is evaluated and kept; null keeps none."""
    preconditioner: PreconditionerConfig = field(default_factory=PreconditionerConfig)


class ComposedOptimizer(torch.optim.Optimizer):
    """Optimizers over different parameters as one, with the weights' average if there is one.

    Args:
        parts: The optimizers; their groups and their states become this one's.
        names: Parameter → name.
        average: Updated after every step.
    """

    def __init__(
        self,
        parts: Sequence[torch.optim.Optimizer],
        names: Mapping[Tensor, str],
        average: WeightAverage | None = None,
    ) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = tuple(parts)
        self.names = dict(names)
        self.average = average
        for part in parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every part.

        Raises:
            DivergenceError: A preconditioner's factor, or a weight after it, is not finite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            if isinstance(part, torch.optim.AdamW):
                part.step()
            else:
                self._precondition(part)
        if self.average is not None:
            self.average.update()
        return loss

    def load_state_dict(self, state_dict: Any) -> None:
        """Not supported: the parts share one state; `load_optimizer_tensors` restores it."""
        raise NotImplementedError("a composed optimizer is restored by load_optimizer_tensors")

    def _precondition(self, part: torch.optim.Optimizer) -> None:
        parameters = list(_parameters(part))
        step = part.param_groups[0].get("step", 0) + 1
        try:
            # Shampoo's power iteration draws from the global generator: a resumed run must draw the same.
            with torch.random.fork_rng(sorted({p.device.index for p in parameters if p.is_cuda})):
                torch.manual_seed(step)
                part.step()
        except LinAlgError as error:
            raise self._diverged(parameters, step, type(part).__name__) from error
        if not torch.nn.utils.get_total_norm(parameters).isfinite():
            raise self._diverged(parameters, step, type(part).__name__)

    def _diverged(self, parameters: list[Tensor], step: int, name: str) -> DivergenceError:
        spoiled = [
            self.names[p]
            for p in parameters
            if not all(t.isfinite().all() for t in [p, *tensors_in(self.state.get(p, {}))])
        ]
        return DivergenceError(
            f"{name}, step {step}: expected finite preconditioner factors, got others for "
            f"{', '.join(spoiled) or 'a matrix'}; try a lower optimizer.lr, or optimizer.preconditioner with a "
            "larger eps or a later start_step"
        )


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> ComposedOptimizer:
    """The configured optimizer over a model's trainable parameters."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [] if config.name == "adamw" else _matrices(model, config.preconditioner.max_side)
    chosen = {id(p) for p in matrices}
    rest: list[Tensor] = [p for p in named.values() if id(p) not in chosen]
    parts: list[torch.optim.Optimizer] = [_preconditioning(matrices, config)] if matrices else []
    if rest:
        parts.append(_adamw(rest, config))
    average = None if config.ema_decay is None else WeightAverage(model, config.ema_decay)
    return ComposedOptimizer(parts, {p: name for name, p in named.items()}, average)


def _matrices(model: nn.Module, max_side: int) -> list[Tensor]:
    tables = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    }
    return [
        p
        for p in model.parameters()
        if p.requires_grad and p.ndim == 2 and max(p.shape) <= max_side and id(p) not in tables
    ]


def _preconditioning(matrices: list[Tensor], config: OptimizerConfig) -> torch.optim.Optimizer:
    from pytorch_optimizer import SOAP, ScalableShampoo  # noqa: PLC0415 - seconds of imports, for some
    from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting  # noqa: PLC0415

    how = config.preconditioner
    group = {"params": matrices, "lr_ratio": 1.0}
    if config.name == "soap":
        return SOAP(
            [group],
            lr=config.lr,
            betas=how.betas,
            weight_decay=config.weight_decay,
            precondition_frequency=how.every,
            max_precondition_dim=how.max_side,
        )
    return ScalableShampoo(
        [group],
        lr=config.lr,
        betas=how.betas,
        moving_average_for_momentum=True,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=True,
        start_preconditioning_step=how.start_step,
        preconditioning_compute_steps=how.every,
        block_size=how.block_size,
        # Merging the sides of a small matrix would make a vector of it, which has no factors.
        shape_interpretation=False,
        graft_type=LayerWiseGrafting[how.graft.upper()],
        nesterov=False,
        matrix_eps=how.eps,
    )


def _adamw(rest: list[Tensor], config: OptimizerConfig) -> torch.optim.Optimizer:
    lr = config.lr if config.name == "adamw" or config.lr_rest is None else config.lr_rest
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [{**group, "lr_ratio": lr / config.lr} for group in groups if group["params"]],
        lr=lr,
        betas=config.betas,
        fused=True,
    )


def served_weights(optimizer: torch.optim.Optimizer) -> AbstractContextManager[None]:
    """Inside the block the model has the weights to evaluate and to keep: their average, if there is one."""
    average = getattr(optimizer, "average", None)
    return nullcontext() if average is None else average.applied()


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate `lr` at a step, after warm-up and schedule."""
    return config.lr * rate_at(config.schedule, config.warmup_fraction, step, steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from the next step on, and for what has a rate of its own the same share of that."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_ratio", 1.0)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's whole state: `<parameter>:<key>` → tensor, and `values.json` for all other values.

    The weights' average is part of it, as `average:<parameter>`.
    """
    tensors: dict[str, Tensor] = {}
    states = {
        name: encode(optimizer.state[parameter], name, tensors)
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }
    values = {"states": states, "steps": [group.get("step") for group in optimizer.param_groups]}
    average = getattr(optimizer, "average", None)
    if average is not None:
        values["average_updates"] = average.updates
        tensors |= {AVERAGE + name: tensor for name, tensor in average.averages.items()}
    tensors[VALUES] = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
    return tensors


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave: the next step is, to the bit, the one it would have been.

    Raises:
        CheckpointError: The state of another optimizer, or of other parameters.
    """
    values = _read_values(tensors)
    steps = values["steps"]
    if len(steps) != len(optimizer.param_groups):
        raise CheckpointError(
            f"optimizer state: expected {len(optimizer.param_groups)} groups of parameters, got {len(steps)}"
        )
    parameters = dict(model.named_parameters())
    begin_state(optimizer)
    for name, saved in values["states"].items():
        if name not in parameters or parameters[name] not in optimizer.state:
            raise CheckpointError(f"optimizer state {name!r} fits no parameter")
        parameter = parameters[name]
        optimizer.state[parameter] = decode(saved, optimizer.state[parameter], name, tensors)
    for name, parameter in parameters.items():
        if name not in values["states"]:
            optimizer.state.pop(parameter, None)
    for group, step in zip(optimizer.param_groups, steps, strict=True):
        if step is not None:
            group["step"] = step
    average = getattr(optimizer, "average", None)
    if average is not None:
        averages = {n.removeprefix(AVERAGE): t for n, t in tensors.items() if n.startswith(AVERAGE)}
        average.load(averages, values.get("average_updates", 0))


def _read_values(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if VALUES not in tensors:
        raise CheckpointError(f"optimizer state: expected {VALUES!r} among the tensors, got none")
    try:
        values: dict[str, Any] = json.loads(tensors[VALUES].numpy().tobytes())
    except ValueError as error:
        raise CheckpointError(f"optimizer state {VALUES!r}: not JSON: {error}") from error
    return values


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
