"""Clip and frame embeddings of a data set: computed once per content, model and sampling, kept on disk."""

import contextlib
import hashlib
import json
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip import __version__
from emoclip.config import FaceConfig
from emoclip.datasets import Clip
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError, OutputError, warn_caller
from emoclip.evaluation.sampling import Sampling, read_clip
from emoclip.files import told
from emoclip.model import Package, cache_folder, prepare
from emoclip.recording import Key, following
from emoclip.results import ByContent
from emoclip.video import changed, is_picture, natural_order, one_opencv_thread

DECODERS = 2
AHEAD_BYTES = 256 << 20  # of pixels decoded ahead of the image tower: 13 clips of 32 frames of 224 px
AHEAD_CLIPS = 256
FLUSH_S = 2.0  # a killed run loses at most this much work
BUSY_S = 30.0  # waited for another process that writes

_TABLES = """
CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, frames BLOB, clip BLOB, warnings TEXT);
CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, stamp TEXT, digest TEXT);
"""
_KEYS = {"clips": "key", "contents": "path"}


@dataclass(eq=False)
class Embeddings(ByContent):
    """Embeddings of N clips.

    vectors: (N, D) float32 of length 1; NaN for a clip that could not be read.
    missing: clip's place -> one-line reason.  warnings: clip's place -> what was odd in it, though it was read.
    computed: clips that were not in the cache; frames: their frames; seconds: the time they took.
    busy: share of that time in which the image tower ran.
    """

    vectors: NDArray[np.float32]
    missing: dict[int, str] = field(default_factory=dict)
    warnings: dict[int, tuple[str, ...]] = field(default_factory=dict)
    computed: int = 0
    frames: int = 0
    seconds: float = 0.0
    busy: float | None = None


class Store:
    """Embeddings of one model in one SQLite file, shared by threads and by processes.

    Found by a recording's key.  Not recordings themselves: a file per clip took ten times as long to keep as a crop's
    row here and seventy times as long to read, more than to embed it again.
    """

    def __init__(self, path: Path | None) -> None:
        """path: made with its folder if absent; None keeps everything in memory.  Raises OutputError."""
        self._path = path
        self._lock = threading.Lock()
        self._flushed = time.monotonic()
        # What is not on disk yet, table -> key -> row: another process can write meanwhile.
        self._new: dict[str, dict[str, tuple[Any, ...]]] = {"clips": {}, "contents": {}}
        with self._access():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                str(path or ":memory:"), timeout=BUSY_S, check_same_thread=False, isolation_level=None
            )
            _patiently(self._database.executescript, f"PRAGMA journal_mode = WAL; {_TABLES}")
            self._database.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk at every commit

    def clip(self, key: str, width: int) -> tuple[NDArray[np.float32], tuple[str, ...]] | None:
        """Return a clip's embedding (D,) and its warnings, or None, also where the row is damaged."""
        row = self._row("clips", key)
        try:
            vector, told = np.frombuffer(row[2], np.float32), json.loads(row[3])  # type: ignore[index]
        except (TypeError, ValueError):
            return None
        return (
            (vector, tuple(map(str, told)))
            if vector.shape == (width,) and np.isfinite(vector).all()
            else None
        )

    def frames(self, key: str, width: int) -> NDArray[np.float32] | None:
        """Return the embeddings (T, D) of a clip's picked frames, in order and not normalised, or None."""
        row = self._row("clips", key)
        return None if row is None else np.frombuffer(row[1], np.float32).reshape(-1, width)

    def add(
        self, key: str, frames: NDArray[np.float32], clip: NDArray[np.float32], warnings: tuple[str, ...]
    ) -> None:
        """Keep a clip's embeddings; they are on disk within a few seconds.  Raises OutputError (a full disk, say)."""
        self._keep("clips", (key, frames.tobytes(), clip.tobytes(), json.dumps(warnings)))

    def content(self, clip: Clip) -> str:
        """Return the SHA-256 of what the clip shows: its file's bytes, or its frames' names and bytes.

        Files are hashed once, and again only when size or time of change differ.  Raises InputError.
        """
        if clip.image is not None:
            return hashlib.sha256(clip.image).hexdigest()
        try:
            files = (
                natural_order(filter(is_picture, clip.path.iterdir())) if clip.path.is_dir() else [clip.path]
            )
            stats = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]
            stamp = hashlib.sha256(repr(stats).encode()).hexdigest()
            path = told(clip.path.resolve())
            row = self._row("contents", path)
            if row is not None and row[1] == stamp:
                return str(row[2])
            digest = hashlib.sha256()
            for file, (name, size, _) in zip(files, stats, strict=True):
                digest.update(f"{name if len(files) > 1 else ''}:{size}:".encode(errors="surrogateescape"))
                with open(file, "rb") as content:
                    while block := content.read(1 << 20):
                        digest.update(block)
        except FileNotFoundError:
            raise InputError(f"{clip.id}: is not there; extract the archive again") from None
        except OSError as error:
            raise InputError(f"{clip.id}: cannot be read ({error.strerror})") from None
        self._keep("contents", (path, stamp, digest.hexdigest()))
        return digest.hexdigest()

    def close(self) -> None:
        """Write what is left and let go of the file; a RuntimeWarning if another process never let us write."""
        with self._access():
            self._flush()
            self._database.close()
        if any(self._new.values()):
            told = "another process has it locked, so that what was computed last is not kept"
            warn_caller(f"{self._path}: {told}", RuntimeWarning)

    def _row(self, table: str, key: str) -> tuple[Any, ...] | None:
        with self._access():
            if key in self._new[table]:
                return self._new[table][key]
            query = f"SELECT * FROM {table} WHERE {_KEYS[table]} = ?"
            row: tuple[Any, ...] | None = self._database.execute(query, (key,)).fetchone()
        return row

    def _keep(self, table: str, row: tuple[Any, ...]) -> None:
        with self._access():
            self._new[table][row[0]] = row
            if time.monotonic() - self._flushed > FLUSH_S:
                self._flush()

    def _flush(self) -> None:
        """Write what is new, all or nothing, in one short transaction; later if another process is at it for long."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        else:
            try:
                for table, rows in self._new.items():
                    if rows:
                        marks = ", ".join("?" * len(next(iter(rows.values()))))
                        query = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"
                        self._database.executemany(query, rows.values())
                self._database.execute("COMMIT")
            except sqlite3.Error:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise
            for rows in self._new.values():
                rows.clear()
        self._flushed = time.monotonic()

    @contextmanager
    def _access(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"{self._path}: the cache of embeddings cannot be used ({error}); delete it, or pass --no-cache"
            ) from None


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _patiently(act: Callable[[str], Any], script: str) -> None:
    """Do what SQLite refuses at once while another process does it too, such as turning to a write-ahead log."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            act(script)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def open_store(package: Package, folder: Path | None) -> Iterator[Store]:
    """Open the store of a model in `folder`; None keeps the embeddings in memory only."""
    store = Store(
        None if folder is None else folder / f"{safe_name(package.name)}-{package.digest[:12]}.sqlite"
    )
    try:
        yield store
    finally:
        store.close()


def default_folder() -> Path:
    """Return the folder in which embeddings are kept if the user names none."""
    return cache_folder() / "embeddings"


def embed(
    model: EmoCLIP,
    clips: Sequence[Clip],
    sampling: Sampling,
    faces: FaceConfig,
    store: Store,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Embeddings:
    """Embed clips, from the store where it has them.

    Every clip's frames go through the towers alone, so that its embedding does not depend on which other clips are in
    the run, nor on their order.  Decoding, cropping and resizing run in the background while the image tower works.
    progress: called with the number of clips done.
    """
    result = Embeddings(np.full((len(clips), model.package.width), np.nan, np.float32))
    key = Key(model.package.digest, form=model.runtime.form, following=following(faces), picked=sampling.name)
    ahead = _ahead_clips(model.package, sampling)
    # Small clips are fetched and finished several at a time: handing each over would cost as much as embedding it.
    size = max(1, ahead // 8)
    chunks = [range(at, min(at + size, len(clips))) for at in range(0, len(clips), size)]
    started = tower_s = 0.0

    def fetch(places: range) -> list[_Fetched | InputError]:
        return [_fetch(model, clips[place], sampling, faces, store, key) for place in places]

    def finish(embedded: list[tuple[int, _Fetched, NDArray[np.float32]]]) -> None:
        for place, item, frames in embedded:
            result.vectors[place] = model.embed_clip(frames)
            store.add(item.key, frames, result.vectors[place], item.warnings)

    with (
        one_opencv_thread(),
        ThreadPoolExecutor(DECODERS) as decoders,
        ThreadPoolExecutor(1) as finisher,
        closing(_ahead(decoders, fetch, chunks, max(2 * DECODERS, ahead // size))) as fetching,
    ):
        finishing = []
        for places, future in zip(chunks, fetching, strict=True):
            embedded = []
            for place, item in zip(places, future.result(), strict=True):
                if isinstance(item, InputError):
                    result.missing[place] = " ".join(str(item).split())
                    continue
                if item.warnings:
                    result.warnings[place] = item.warnings
                if item.vector is not None:
                    result.vectors[place] = item.vector
                    continue
                if not result.computed:
                    model.runtime.image(item.pixels)  # opens the session, which is no work on clips
                    started = time.perf_counter()
                before = time.perf_counter()
                frames = model.runtime.image(item.pixels)
                tower_s += time.perf_counter() - before
                result.computed += 1
                result.frames += len(frames)
                embedded.append((place, item, frames[item.order]))
            finishing.append(finisher.submit(finish, embedded))
            progress(places.stop)
        for finished in finishing:
            finished.result()
    if result.computed:
        result.seconds = time.perf_counter() - started
        result.busy = tower_s / result.seconds
    return result


@dataclass(frozen=True)
class _Fetched:
    """A clip's embedding from the store, or the pixels (T, C, S, S) it is to be made of and their order."""

    key: str
    vector: NDArray[np.float32] | None
    pixels: NDArray[np.float32]
    order: NDArray[np.int64]
    warnings: tuple[str, ...]


def _fetch(
    model: EmoCLIP, clip: Clip, sampling: Sampling, faces: FaceConfig, store: Store, key: Key
) -> _Fetched | InputError:
    try:
        content = store.content(clip)
        # Another version may cut or sample frames otherwise, which a score must not depend on.
        name = f"{__version__} {replace(key, input=content).digest}"
        if kept := store.clip(name, model.package.width):
            return _Fetched(name, kept[0], np.empty(0, np.float32), np.empty(0, np.int64), kept[1])
        spec = model.package.pixels
        sampled = read_clip(clip, sampling, content, faces, spec)
        if store.content(clip) != content:
            raise changed(clip.id)
        return _Fetched(name, None, prepare(sampled.crops, spec), sampled.order, sampled.warnings)
    except InputError as error:
        return error


def _ahead_clips(package: Package, sampling: Sampling) -> int:
    pixels = sampling.length * len(package.pixels.mean) * package.pixels.size**2
    return max(1, min(AHEAD_CLIPS, AHEAD_BYTES // (4 * pixels)))


def _ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[range], list[_Fetched | InputError]],
    chunks: Sequence[range],
    limit: int,
) -> Generator[Future[list[_Fetched | InputError]]]:
    """Yield function(chunk) of every chunk as futures, in order; at most `limit` begun before they are asked for."""
    waiting: deque[Future[list[_Fetched | InputError]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(function, chunk))
            if len(waiting) >= limit:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()


def safe_name(name: str) -> str:
    """Return a model's name as it can name a file."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)
