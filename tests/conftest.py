"""Fixtures that every part of the house shares."""

from pathlib import Path

import pytest

from elastier_contract.bundle import Bundle
from support.tiny import write_tiny_bundle


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Bundle:
    """A bundle of three tiers in a folder of its own, to serve or to spoil."""
    return write_tiny_bundle(tmp_path / "tiny-bundle")
