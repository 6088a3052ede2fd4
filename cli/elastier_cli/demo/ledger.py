"""What the demo made earlier, and from what, so that a second start reuses it."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from elastier_cli.console import console
from elastier_contract import atomic
from elastier_contract.model import FrozenModel


class Entry(FrozenModel):
    """One step; `seconds` is None until it is done."""

    digest: str
    seconds: float | None = None


_ENTRIES = TypeAdapter(dict[str, Entry])


class Ledger:
    """Remembers for every step a digest of its inputs and the seconds it took."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(
        self,
        name: str,
        *,
        inputs: list[str],
        output: Path,
        make: Callable[[bool], object],
        continued: Path | None = None,
    ) -> str:
        """Make `output` unless it is there and was made from the same inputs.

        Args:
            name: The step.
            inputs: All that its output depends on.
            output: The file or folder that is there once it is done.
            make: Makes it; told whether an interrupted try from the same inputs may be continued.
            continued: The folder that such a try goes on in; removed before a try from other inputs.

        Returns:
            A digest of the step, to be an input of the steps that build on it.
        """
        digest = hashlib.sha256("\0".join([name, *inputs]).encode()).hexdigest()
        entry = self._read().get(name)
        begun = entry is not None and entry.digest == digest
        if begun and entry is not None and entry.seconds is not None and output.exists():
            console.print(f"{name}: reusing {output}", style="dim", markup=False)
            return digest
        if not begun and continued is not None and continued.exists():
            # Before the step counts as begun: a kill in between must not let the next try go on with old work.
            shutil.rmtree(continued)
        self._write(name, Entry(digest=digest))
        start = time.monotonic()
        make(begun)
        seconds = round(time.monotonic() - start, 1)
        self._write(name, Entry(digest=digest, seconds=seconds))
        console.print(f"{name}: {seconds} s → {output}", markup=False)
        return digest

    def seconds(self, *names: str) -> float:
        """Seconds that these steps took when they were made."""
        entries = self._read()
        return round(sum(entries[name].seconds or 0.0 for name in names), 1)

    def _read(self) -> dict[str, Entry]:
        """The remembered steps; a damaged ledger is forgotten, and all is made again."""
        try:
            return _ENTRIES.validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return {}

    def _write(self, name: str, entry: Entry) -> None:
        entries = self._read() | {name: entry}
        atomic.write_file(self._path, _ENTRIES.dump_json(entries, indent=1))
