"""Embeddings of frozen towers, computed once and memory-mapped: frames in several augmented views, and sentences."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from emoclip.datasets import Clip
from emoclip.errors import InputError, OutputError
from emoclip.files import write_text
from emoclip.video import is_picture
from emoclip.video.content import Content

FORMAT = 1


class EmbeddingCache:
    """Rows of embeddings under keys, appended to one raw float32 file; what is complete survives a kill.

    A folder holds `settings.json` (what the rows depend on), `rows.f32` and `index.jsonl`, one line per key:
    its stamp (what its rows were made of) and how many rows.  Rows are written before the line that counts them.
    From opening to `close` it is locked: rows are counted from where the file ended then, and what no line counts
    goes.  Rows that are counted never move, so a closed cache is read while others append to the folder.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        width: int,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Open a cache, or begin one; waits while another process has it open.

        settings: anything JSON; must equal those the cache was begun with.  note: called with a line before a wait.
        Raises InputError naming the first setting that differs or a file that is damaged, OutputError if the folder
        cannot be written.
        """
        self.folder, self.width = folder, width
        self._rows, self._index = folder / "rows.f32", folder / "index.jsonl"
        self.entries: dict[str, tuple[str, int, int]] = {}  # key -> stamp, first row, rows
        self._total = 0
        wanted = {"format": FORMAT, "width": width, **settings}
        self._files: tuple[IO[bytes], IO[str]] | None = None
        self._map: NDArray[np.float32] | None = None
        self._lock: FileLock | None = None
        try:
            _check_settings(folder, wanted)  # before a wait that may take hours
            folder.mkdir(parents=True, exist_ok=True)
            self._wait(note)
            _check_settings(folder, wanted)
            if not (folder / "settings.json").exists():
                write_text(folder / "settings.json", json.dumps(wanted, indent=2, sort_keys=True) + "\n")
            self._recover()
        except OSError as error:
            self.close()
            raise _no_room(folder, error) from None
        except BaseException:
            self.close()
            raise

    def holds(self, key: str, stamp: str, content: Callable[[], str] = lambda: "") -> bool:
        """Whether the rows of `key` are there.  Raises InputError if they were made of something else.

        content: called where the stamp differs; rows added with `STAMP CONTENT` are of the same, if that is.
        """
        if key not in self.entries:
            return False
        before, _, held = self.entries[key][0].partition(" ")
        if before != stamp and not (held and held == content()):
            clip = key.rpartition("#")[0] or key  # without the number of its view
            raise InputError(
                f"{self.folder}: was made when {clip} was another file than now; "
                "delete that folder, or name another with --cache"
            )
        return True

    def add(self, key: str, stamp: str, rows: NDArray[np.float32]) -> None:
        """Append the rows (n, width) of a new key.  Raises OutputError, on a full disk for instance."""
        try:
            if self._files is None:
                self._files = (self._rows.open("ab"), self._index.open("a", encoding="utf-8"))
            data, index = self._files
            data.write(np.ascontiguousarray(rows, np.float32).tobytes())
            data.flush()
            index.write(json.dumps([key, stamp, len(rows)], ensure_ascii=False) + "\n")
            index.flush()
        except OSError as error:
            raise _no_room(self.folder, error) from None
        self.entries[key] = (stamp, self._total, len(rows))
        self._total += len(rows)
        self._map = None

    def rows(self, key: str) -> NDArray[np.float32]:
        """Return the rows (n, width) of a key as a view of the mapped file."""
        if self._map is None:
            self._map = np.memmap(self._rows, np.float32, "r", shape=(self._total, self.width))
        _, first, count = self.entries[key]
        return self._map[first : first + count]

    def close(self) -> None:
        """Stop appending, and let others append."""
        if self._files is not None:
            for file in self._files:
                file.close()
            self._files = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None  # it cannot be sent to the processes that read clips

    def _wait(self, note: Callable[[str], None]) -> None:
        """Lock the folder.  The system unlocks it when the process ends, however it does."""
        if not os.access(self.folder, os.W_OK):  # may still be read, by anybody
            return
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            note(f"{self.folder}: another run is filling this cache; waiting until it is done")
            self._lock.acquire(poll_interval=0.5)

    def _recover(self) -> None:
        """Read the index up to its last whole line and drop rows that no line counts."""
        whole = 0
        content = self._index.read_bytes() if self._index.exists() else b""
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            match _read(self._index, self.folder, line):
                case [str(key), str(stamp), int(count)] if count >= 0:
                    self.entries[key] = (stamp, self._total, count)
                    self._total += count
                case _:
                    raise _damaged(self._index, self.folder)
            whole += len(line)
        size = self._rows.stat().st_size if self._rows.exists() else 0
        if size < self._total * self.width * 4:
            raise InputError(
                f"{self._rows}: is shorter than its index says; delete {self.folder} and run again"
            )
        if whole < len(content):
            os.truncate(self._index, whole)
        if size > self._total * self.width * 4:
            os.truncate(self._rows, self._total * self.width * 4)


def _check_settings(folder: Path, wanted: Mapping[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        return
    found = _read(path, folder, path.read_bytes())
    if not isinstance(found, dict):
        raise _damaged(path, folder)
    for name in sorted({*found, *wanted}):
        if found.get(name) != json.loads(json.dumps(wanted.get(name))):
            why = ": other weights (random ones differ with loop.seed)" if name.endswith(" tower") else ""
            raise InputError(
                f"{folder}: was made with {name}={found.get(name)}, this run has {name}={wanted.get(name)}{why}; "
                "delete that folder, or name another with --cache"
            )


def _read(path: Path, folder: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _damaged(path, folder) from None


def _damaged(path: Path, folder: Path) -> InputError:
    return InputError(f"{path}: is damaged; delete {folder} and run again")


def _no_room(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: the cache cannot be written ({error.strerror or error}); "
        "make room and run again with --resume, what is in it stays good"
    )


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of named tensors: alike only for the same model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def stamp(clip: Clip) -> str:
    """Return what a clip's files look like from outside: it changes when they do, and reads no pixel.

    Names, sizes and modification times, of the pictures in a folder; for a picture inside a manifest its bytes.
    """
    if clip.image is not None:
        return hashlib.sha256(clip.image).hexdigest()[:16]
    digest = hashlib.sha256()
    try:
        entries = sorted(filter(is_picture, clip.path.iterdir())) if clip.path.is_dir() else [clip.path]
        for entry in entries:
            state = entry.stat()
            digest.update(
                f"{entry.name} {state.st_size} {state.st_mtime_ns}".encode(errors="surrogateescape")
            )
    except OSError as error:
        raise InputError(
            f"{clip.path}: cannot be read ({error.strerror}); check the data set's folder"
        ) from None
    return digest.hexdigest()[:16]


def content(clip: Clip) -> str:
    """Return a hash of a clip's files: of a copy of the data set, which has other times, it is the same."""
    return "" if clip.image is not None else Content.of(clip.path).digest or ""
