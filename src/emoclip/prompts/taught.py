"""Labels that were taught from codings, as the small file that `--labels NAME.labels` takes."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import ConfigError, InputError

FORMAT = 1
SUFFIX = ".labels"
MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Taught:
    """What was learnt of some labels.

    model: SHA-256 of the config.json of the package whose embeddings the rows belong to.
    rows: per label D weights of a clip's unit embedding, D of the unit mean of its frames, and a constant; what they
    give is the label's logit.  window_s: seconds of video that one reading is of.
    sha256: of the file that they were read from.  codings, videos: SHA-256 of those that taught them, as it says.
    """

    model: str
    model_name: str
    rows: tuple[tuple[float, ...], ...]
    window_s: float
    sha256: str = field(default="", compare=False)
    codings: tuple[str, ...] = field(default=(), compare=False)
    videos: tuple[str, ...] = field(default=(), compare=False)

    def matrix(self) -> NDArray[np.float32]:
        """Return the rows as an array (K, 2 D + 1)."""
        return np.asarray(self.rows, np.float32)

    def for_model(self, digest: str, name: str, width: int) -> NDArray[np.float32]:
        """Return the matrix for the model with this digest, whose embeddings have `width` numbers.

        Raises ConfigError if the labels were taught with another one.
        """
        rows = self.matrix()
        if self.model != digest:
            raise ConfigError(
                f"labels: were taught with another model, {self.model_name}, than {name}; "
                "name that one with --model (from Python, load it), or teach them again"
            )
        if rows.shape[1] != 2 * width + 1:
            raise ConfigError(f"labels: do not fit the model {name}; teach them again")
        return rows


def is_taught(labels: object) -> bool:
    """True for the name of a taught label set."""
    return isinstance(labels, (str, Path)) and str(labels).strip().casefold().endswith(SUFFIX)


def to_json(labels: dict[str, list[list[str]]], taught: Taught, card: dict[str, Any]) -> str:
    """Return the file's text.  labels: label -> the sentences of its parts.  card: what is known of it, plain data."""
    rows = taught.matrix().astype("<f4")
    record = {
        "format": FORMAT,
        "labels": labels,
        "model": {"name": taught.model_name, "sha256": taught.model},
        "window_s": taught.window_s,
        "rows": {"shape": list(rows.shape), "float32": base64.b64encode(rows.tobytes()).decode()},
        "card": card,
    }
    return json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read(path: Path) -> tuple[dict[str, list[list[str]]], Taught]:
    """Read the labels and what was learnt of them; nothing in the file is executed.  Raises InputError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError
        content = path.read_bytes()
        record = json.loads(content.decode("utf-8-sig"))
        if record["format"] != FORMAT:
            raise InputError(f"{path}: was taught with another version of emoclip; teach it again")
        labels, shape = record["labels"], tuple(record["rows"]["shape"])
        data = base64.b64decode(record["rows"]["float32"], validate=True)
        rows = np.frombuffer(data, "<f4").reshape(shape)
        whole = len(shape) == 2 and shape[0] == len(labels) >= 2 and shape[1] % 2 == 1 and shape[1] >= 3
        told = all(isinstance(s, str) for parts in labels.values() for part in parts for s in part)
        window_s = float(record["window_s"])
        if not (whole and told and np.isfinite(rows).all() and 0.05 <= window_s <= 3600):
            raise ValueError
        model = record["model"]
        card = record.get("card") or {}
        taught = Taught(
            str(model["sha256"]),
            str(model["name"]),
            tuple(map(tuple, rows.tolist())),
            window_s,
            sha256(content).hexdigest(),
            tuple(map(str, card.get("codings", ()))),
            tuple(map(str, card.get("videos", ()))),
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such label file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise InputError(f"{path}: not labels that emoclip taught, or damaged; teach them again") from None
    return labels, taught
