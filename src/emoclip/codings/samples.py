"""Windows of recordings as numbers to learn from, beside what coders said of the same time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emoclip.codings.coding import ANYONE, Coding, Mark
from emoclip.codings.statistics import Floats
from emoclip.codings.tables import way_of
from emoclip.config import FaceConfig, WindowConfig
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError
from emoclip.files import told_apart
from emoclip.model import mean_frames
from emoclip.prompts import NONE
from emoclip.recording import Recording
from emoclip.results import ByContent
from emoclip.timeline import cut, embedding_rate
from emoclip.timeline.spans import Span, intersection, union

CODED = 0.99  # share of a window that a coder must have coded for it to count
LEAST_NEW, LEAST_CLEAR = 0.05, 0.05  # what a window counts at least


@dataclass(frozen=True, eq=False)
class CodedWindows(ByContent):
    """The N windows of one face of a video.

    group: who is shown, else the video; what validation leaves out.  start_s, end_s: (N,), from the first frame's
    beginning to the last one's end.  features: (N, 2 D), unit embeddings of the clip and of its frames' mean.
    targets: (N, K) shares of each label, NaN where nobody coded.  clear: (N,) in [0, 1], how far each coder gave a
    window to one label: low across the borders of marks, where coders lag, and not where they differ.
    codings: those that are about this face.
    """

    video: str
    track: str
    group: str
    start_s: Floats
    end_s: Floats
    features: NDArray[np.float32]
    targets: Floats
    clear: Floats
    codings: tuple[Coding, ...] = ()

    @property
    def centre_s(self) -> Floats:
        """The middle of each window, (N,)."""
        return (self.start_s + self.end_s) / 2

    @property
    def coded(self) -> NDArray[np.bool_]:
        """Which windows have a target, (N,)."""
        return np.asarray(~np.isnan(self.targets).any(axis=1))

    @property
    def own_s(self) -> Floats:
        """The coded seconds that each window brings, (N,): those that several cover are shared among them."""
        starts, ends = self.start_s[self.coded], self.end_s[self.coded]
        edges = np.unique(np.concatenate([starts, ends]))
        between = (edges[1:] + edges[:-1]) / 2
        over = np.searchsorted(np.sort(starts), between) - np.searchsorted(np.sort(ends), between)
        passed = np.concatenate([[0.0], np.cumsum(np.diff(edges) / np.maximum(over, 1))])
        own = np.zeros(len(self.start_s))
        own[self.coded] = passed[np.searchsorted(edges, ends)] - passed[np.searchsorted(edges, starts)]
        return own

    @property
    def weights(self) -> Floats:
        """What each window counts, (N,): by the share of it that no other brings, and by how clear it is."""
        lasts = self.end_s - self.start_s
        new = np.where(lasts > 0, self.own_s / np.maximum(lasts, 1e-9), 1.0)
        return np.asarray(
            self.coded * np.clip(new, LEAST_NEW, 1.0) * np.maximum(self.clear, LEAST_CLEAR), np.float64
        )

    @property
    def steady(self) -> Floats:
        """How alike each window and those around it look, (N,), the least cosine: low where one look gives way."""
        unit = self.features / np.maximum(np.linalg.norm(self.features, axis=1, keepdims=True), 1e-9)
        alike = np.ones(len(unit))
        step = float(np.median(np.diff(self.start_s))) if len(unit) > 1 else 0.0
        if step <= 0:
            return alike
        reach = float(np.max(self.end_s - self.start_s)) + step / 2
        for away in range(1, min(len(unit), round(reach / step) + 1)):
            near = self.start_s[away:] - self.start_s[:-away] < reach
            cosines = np.where(near, (unit[away:] * unit[:-away]).sum(axis=1), 1.0)
            alike[away:] = np.minimum(alike[away:], cosines)
            alike[:-away] = np.minimum(alike[:-away], cosines)
        return alike

    def every(self, step: int) -> "CodedWindows":
        """Return every `step`-th window."""
        names = ("start_s", "end_s", "features", "targets", "clear")
        return replace(self, **{name: getattr(self, name)[::step] for name in names})


def stem(recording: Recording) -> str:
    """Return the name of a recording's video, without folder and ending."""
    return way_of(recording.name)[-1]


def named(recordings: Sequence[Recording]) -> dict[str, Recording]:
    """Name recordings by `stem`; where several share one, by how they lie in their folders, `monday/talk`.

    Raises InputError for two that nothing tells apart.
    """
    names = told_apart([way_of(recording.name) for recording in recordings])
    for name, recording in zip(names, recordings, strict=True):
        if names.count(name) > 1:
            raise InputError(f"{recording.called}: another video given is called that too; leave one out")
    return dict(zip(names, recordings, strict=True))


def windows(model: EmoCLIP, recording: Recording, config: WindowConfig, track: str = ANYONE) -> CodedWindows:
    """Cut a recording as a timeline does, and embed what can be read.  track: `anyone` is the largest face."""
    faces = FaceConfig(mode="largest" if track == ANYONE else "all")
    frames = recording.between(0.0, None, embedding_rate(model, config.length_s))
    drafts = [
        draft
        for draft in cut(frames, faces, config, recording.duration_s)
        if draft.status == "ok" and track in (ANYONE, f"track {draft.track_id}")
    ]
    clips = [draft.embeddings for draft in drafts]
    width = model.package.width
    features = np.concatenate([model.embed_clips(clips), mean_frames(clips, width)], axis=1)
    start = np.array([draft.start_s for draft in drafts], np.float64)
    end = np.array([draft.until_s for draft in drafts], np.float64)
    return CodedWindows(
        stem(recording),
        track,
        stem(recording),
        start,
        end,
        features,
        np.full((len(drafts), 0), np.nan),
        np.zeros(len(drafts)),
    )


def lessons(
    model: EmoCLIP,
    recordings: Sequence[Recording],
    codings: Sequence[Coding],
    labels: Sequence[str],
    config: WindowConfig,
    *,
    skip_gaps: bool = False,
    subjects: Mapping[str, str] | None = None,
) -> list[CodedWindows]:
    """Return the windows of every recording and coded face, with what its coders said of them.

    They are in order of group, video and face, and the codings of each by coder, in whatever order all came in: what is
    drawn at random follows it.  labels: those to learn; `none of these` takes coded time without a mark.
    Raises InputError for a coding that cannot be of its recording.
    """
    found = []
    codings = sorted(codings, key=lambda coding: (coding.coder, coding.marks, coding.coded or ()))
    for video, recording in named(recordings).items():
        about = [_checked(coding, recording) for coding in codings if coding.video == video]
        tracks = sorted({mark.track for coding in about for mark in coding.marks}) or [ANYONE]
        known = {f"track {item.track_id}" for _, looks in recording.frames for item in looks} | {ANYONE}
        for track in tracks:
            if track not in known:
                raise InputError(
                    f"{about[0].file}: marks the face {track!r}, which the recording of {video} does not know "
                    f"(it has {', '.join(sorted(known - {ANYONE})) or 'no face'}); name its tracks, or no face"
                )
            samples = windows(model, recording, config, track)
            mine = [
                replace(c, marks=tuple(m for m in c.marks if m.track == track), coded=c.coded_of(track))
                for c in about
            ]
            group = (subjects or {}).get(video) or next((c.subject for c in about if c.subject), video)
            spans = zip(samples.start_s, samples.end_s, strict=True)
            said = [_target(mine, labels, span, skip_gaps) for span in spans]
            targets = np.reshape([target for target, _ in said], (len(said), len(labels)))
            clear = np.array([share for _, share in said], np.float64)
            theirs = tuple(_marked_only(coding) for coding in mine) if skip_gaps else tuple(mine)
            found.append(
                replace(samples, video=video, targets=targets, clear=clear, group=group, codings=theirs)
            )
    return sorted(found, key=lambda part: (part.group, part.video, part.track))


def _marked_only(coding: Coding) -> Coding:
    """The same coding, of the time that it marks."""
    marked = union((mark.onset_s, mark.offset_s) for mark in coding.marks)
    return replace(
        coding, coded=tuple(marked if coding.coded is None else intersection(marked, coding.coded))
    )


def _checked(coding: Coding, recording: Recording) -> Coding:
    length = recording.duration_s
    if length is not None and coding.end_s > length + 0.5:
        raise InputError(
            f"{coding.file}: marks go on to {coding.end_s:g} s, but {stem(recording)} is {length:g} s long; "
            "is it the coding of another video?"
        )
    return coding


def _target(
    codings: Sequence[Coding], labels: Sequence[str], span: Span, skip_gaps: bool
) -> tuple[Floats, float]:
    """Shares of labels in a window and how clear they are, means over those who coded it.

    Labels marked at once share their time.
    """
    said = []
    for coding in codings:
        if coding.coded is not None and _shared(coding.coded, span) < CODED * (span[1] - span[0]):
            continue
        shares = np.zeros(len(labels))
        for at, label in enumerate(labels):
            shares[at] = sum(_overlap(mark, span) for mark in coding.marks if mark.label == label)
        marked = _covered(coding.marks, span)
        if shares.sum() > 0:
            shares *= marked / shares.sum()
        if NONE in labels and not skip_gaps:
            shares[labels.index(NONE)] = 1 - marked
        if shares.sum() > CODED if skip_gaps else shares.sum() > 0:
            said.append(shares / shares.sum())
    if not said:
        return np.full(len(labels), np.nan), 0.0
    return np.mean(said, axis=0), float(np.mean([max(0.0, 2 * shares.max() - 1) for shares in said]))


def _overlap(mark: Mark, span: Span) -> float:
    """The share of a window that a mark takes; a point takes all of a window that it is in the middle half of."""
    length = span[1] - span[0]
    if mark.onset_s == mark.offset_s:
        return float(abs(mark.onset_s - sum(span) / 2) <= length / 4)
    return max(0.0, min(mark.offset_s, span[1]) - max(mark.onset_s, span[0])) / length


def _covered(marks: Sequence[Mark], span: Span) -> float:
    """The share of a window that any mark takes."""
    if any(mark.onset_s == mark.offset_s and _overlap(mark, span) for mark in marks):
        return 1.0
    near = [
        (mark.onset_s, mark.offset_s) for mark in marks if mark.offset_s > span[0] and mark.onset_s < span[1]
    ]
    return min(1.0, _shared(near, span) / (span[1] - span[0]))


def _shared(spans: Sequence[Span], span: Span) -> float:
    return sum(max(0.0, min(end, span[1]) - max(start, span[0])) for start, end in union(spans))
