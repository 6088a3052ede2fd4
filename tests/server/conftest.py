"""Fixtures of the server's tests."""

from collections.abc import Iterator

import pytest

from elastier_contract.bundle import Bundle
from support.serving import AppClient, Setup, client_of, fake_setup


@pytest.fixture
def setup(tiny_bundle: Bundle) -> Setup:
    return fake_setup(tiny_bundle)


@pytest.fixture
def client(setup: Setup) -> Iterator[AppClient]:
    with client_of(setup.app) as client:
        yield client
