"""What a user gets back."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "no_face", "error"]


@dataclass(frozen=True)
class FaceResult:
    """One person's expression over the time their face was seen.

    start_s, end_s: seconds from the container's clock.  frames: frames in which the face was seen.
    coverage: share in [0, 1] of the read frames that show this face.  probs: label -> probability, sums to 1.
    seen_at_s, box: when the face was largest, and its box (x0, y0, x1, y1) in pixels of that frame (not in the record).
    """

    track_id: int
    start_s: float
    end_s: float
    frames: int
    coverage: float
    probs: dict[str, float]
    top: str
    seen_at_s: float = field(default=0.0, compare=False)
    box: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0), compare=False)


@dataclass(frozen=True)
class Classification:
    """How the faces of one input read against `labels`; `faces` is largest first.

    status: `no_face` is a result, `error` comes with a one-line reason in `error`.
    """

    input: str
    model: str
    labels: list[str]
    status: Status
    error: str | None = None
    duration_s: float = 0.0
    faces: list[FaceResult] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the documented JSON object, its keys in the documented order."""
        record = asdict(self)
        for face in record["faces"]:
            del face["seen_at_s"], face["box"]
        return record
