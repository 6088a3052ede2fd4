"""What can go wrong in training.

ElastierError
└── TrainerError
    ├── ConfigError        the run's configuration is wrong
    ├── DataError          the training data do not fit their schema, or cannot train a model
    ├── CheckpointError    a checkpoint is missing, damaged, or of another run
    └── DivergenceError    a loss that is not finite
"""

from elastier_contract.errors import ElastierError


class TrainerError(ElastierError):
    """Base of the trainer's errors."""


class ConfigError(TrainerError):
    """The run's configuration is wrong."""

    exit_code = 2


class DataError(TrainerError):
    """The training data do not fit their schema, or cannot train a model."""

    exit_code = 2


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, or of another run."""


class DivergenceError(TrainerError):
    """A loss that is not finite; says the step and the term."""
