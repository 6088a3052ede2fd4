"""What can go wrong between a trained run and its bundle.

ElastierError
└── ExporterError
    ├── GraphError     the TA's graph is not one that tiers can be sliced from
    ├── NamingError    a name or version that no bundle can carry
    ├── ParityError    a tier does not answer as torch does
    ├── SignatureError inputs of a kind that no bundle can carry
    └── TierError      tiers that were asked for, but that the TA does not hold
"""

from elastier_contract.errors import ElastierError


class ExporterError(ElastierError):
    """Base of the exporter's errors."""


class GraphError(ExporterError):
    """The TA's graph is not one that tiers can be sliced from."""


class NamingError(ExporterError):
    """A name or version that no bundle can carry."""

    exit_code = 2


class ParityError(ExporterError):
    """A tier does not answer as torch does; nothing was written."""


class SignatureError(ExporterError):
    """Inputs of a kind that no bundle can carry."""

    exit_code = 2


class TierError(ExporterError):
    """Tiers that were asked for, but that the TA does not hold."""

    exit_code = 2
