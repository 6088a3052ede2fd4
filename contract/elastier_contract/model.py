"""The base of every data model in a bundle."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Immutable, and strict about unknown fields: a typing error in a bundle is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
