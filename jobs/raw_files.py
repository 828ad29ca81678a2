"""Result files on disk, until they are archived."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobs import transfer
from jobs.journal import Row


class RawFiles:
    """The files of attempts in ``folder``; with ``keep`` they stay when they are archived."""

    def __init__(self, folder: Path, keep: bool) -> None:
        self._folder, self._keep = folder, keep

    def path(self, row: Row) -> Path:
        """The checked file of an attempt."""
        return self._folder / row.file_name

    def part(self, row: Row) -> Path:
        """The same while it comes."""
        return self.path(row).with_suffix(".nc.part")

    def remove(self, row: Row) -> None:
        """Remove what there is of an attempt's file."""
        transfer.discard(self.part(row))
        self.path(row).unlink(missing_ok=True)

    def done_with(self, row: Row) -> None:
        """The file of an attempt is needed no longer."""
        if not self._keep:
            self.remove(row)

    def sweep(self, wanted: Iterable[Row]) -> None:
        """Remove the files of all other attempts."""
        if self._keep or not self._folder.is_dir():
            return
        names = {self.path(row).name for row in wanted}
        for path in self._folder.iterdir():
            if path.name.partition(".nc")[0] + ".nc" not in names:
                path.unlink(missing_ok=True)
