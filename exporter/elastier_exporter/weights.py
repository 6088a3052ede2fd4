"""The one weights file: ranges of bytes that tiers share.

What a tier needs is compared with what is there, byte for byte. It is stored only if it is neither the beginning of an
earlier range of the same name nor equal to any range. So tiers are written from the largest to the smallest.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elastier_contract.layout import ALIGNMENT_BYTES, WEIGHTS_FILE
from elastier_contract.manifest import WeightKind, WeightRange

Bytes = NDArray[np.uint8]

_SMALL_ALIGNMENT_BYTES = 64
"""Of ranges shorter than a page, which share one."""


@dataclass(kw_only=True)
class _Stored:
    """A range, and what lies there."""

    name: str
    kind: WeightKind
    offset: int
    content: Bytes
    tiers: list[str]


class WeightsFile:
    """The weights file of a bundle while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stored: list[_Stored] = []
        self._by_name: dict[tuple[str, WeightKind], list[_Stored]] = defaultdict(list)
        self._by_digest: dict[bytes, _Stored] = {}

    def place(self, tier: str, name: str, kind: WeightKind, content: Bytes) -> int:
        """Where these bytes of a tier lie in the file; they are appended if they lie nowhere yet.

        Args:
            tier: The tier that needs them.
            name: Of the weight, in the tier's graph.
            kind: Raw numbers, or packed for matrix products.
            content: The bytes.

        Returns:
            The offset of the first byte.
        """
        found = self._find(name, kind, content)
        if found is None:
            found = self._append(name, kind, content)
        if tier not in found.tiers:
            found.tiers.append(tier)
        return found.offset

    @property
    def ranges(self) -> tuple[WeightRange, ...]:
        """All that was stored, and who uses it."""
        return tuple(
            WeightRange(
                name=stored.name,
                kind=stored.kind,
                offset=stored.offset,
                bytes=len(stored.content),
                tiers=tuple(stored.tiers),
            )
            for stored in self._stored
        )

    def flush(self) -> None:
        """Let others read what was placed so far."""
        self._file.flush()

    def _find(self, name: str, kind: WeightKind, content: Bytes) -> _Stored | None:
        for stored in self._by_name[name, kind]:
            if len(content) <= len(stored.content) and np.array_equal(
                stored.content[: len(content)], content
            ):
                return stored
        return self._by_digest.get(_digest(content))

    def _append(self, name: str, kind: WeightKind, content: Bytes) -> _Stored:
        alignment = ALIGNMENT_BYTES if len(content) >= ALIGNMENT_BYTES else _SMALL_ALIGNMENT_BYTES
        self._file.write(b"\0" * (-self._file.tell() % alignment))
        stored = _Stored(name=name, kind=kind, offset=self._file.tell(), content=content, tiers=[])
        self._file.write(content.data)
        self._stored.append(stored)
        self._by_name[name, kind].append(stored)
        self._by_digest[_digest(content)] = stored
        return stored


def _digest(content: Bytes) -> bytes:
    return hashlib.sha256(content.data).digest()


@contextmanager
def weights_file(folder: Path) -> Iterator[WeightsFile]:
    """Write the weights file of the bundle in `folder`."""
    with (folder / WEIGHTS_FILE).open("wb") as file:
        yield WeightsFile(file)
