"""What the demo made earlier, and from what, so that a second start reuses it."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from elastier_contract import atomic

from elastier_cli.console import console


class Ledger:
    """Remembers for every step a digest of its inputs and the seconds it took."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(self, name: str, *, inputs: list[str], output: Path, make: Callable[[], object]) -> str:
        """Make `output` unless it is there and was made from the same inputs.

        Returns:
            A digest of the step, to be an input of the steps that build on it.
        """
        digest = hashlib.sha256("\0".join([name, *inputs]).encode()).hexdigest()
        entries = self._read()
        if output.exists() and entries.get(name, {}).get("digest") == digest:
            console.print(f"[dim]{name}: reusing {output}[/]")
            return digest
        start = time.monotonic()
        make()
        entries[name] = {"digest": digest, "seconds": round(time.monotonic() - start, 1)}
        atomic.write_file(self._path, json.dumps(entries, indent=1).encode())
        console.print(f"{name}: {entries[name]['seconds']} s → {output}")
        return digest

    def seconds(self, *names: str) -> float:
        """Seconds that these steps took when they were made."""
        entries = self._read()
        return round(sum(entries[name]["seconds"] for name in names), 1)

    def _read(self) -> dict[str, dict[str, object]]:
        """The remembered steps; a damaged ledger is forgotten, and all is made again."""
        try:
            entries = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}
