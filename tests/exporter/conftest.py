"""A run that was really trained, once for all tests here."""

from pathlib import Path

import pytest

from elastier_trainer.config_file import load_config
from elastier_trainer.run import run_training
from support.small_run import write_small_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with widths 2, 4, 8 and 16 in two blocks."""
    folder = tmp_path_factory.mktemp("small-run")
    config = load_config(write_small_run(folder))
    run_training(config, folder / "run", command="elastier train --config config.yaml")
    return folder / "run"
