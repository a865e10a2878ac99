"""Sliding windows over everybody in a video, given out while it runs; memory holds one window's length of video."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median_low
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.config import (
    FaceConfig,
    SegmentConfig,
    WindowConfig,
    check_flags,
    check_fps,
    check_progress,
    check_span,
    unusual,
)
from emoclip.errors import ConfigError, InputError, InputWarning, shown, warn_caller
from emoclip.faces import settled, used
from emoclip.prompts import PromptSet
from emoclip.recording import Key, Looks, Recording, is_recording
from emoclip.results import Timeline, Window
from emoclip.timeline import watching
from emoclip.timeline.baseline import Baseline, Moment, Rest
from emoclip.timeline.segments import Kept, find_peaks, find_segments, find_unread, smooth, summarise
from emoclip.timeline.watching import (
    Model,
    as_recorded,
    as_watched,
    asked,
    embedding_rate,
    too_sparse,
    watched,
)
from emoclip.timeline.windows import Draft, cut, doubt, unknown
from emoclip.video import Content, asked_rate, open_video

WINDOW_BATCH = 32  # windows that wait for one run of the temporal part


class TimelineStream:
    """The windows of one input.  Iterate for each as it comes, or `read()` the whole; either way once.

    Windows start every `step_s` from the first frame on, until one holds the last frame (which may be shorter).
    Each gives a row per person seen in it, or lost for at most `bridge_s` when it began; a window with nobody gives
    one row with track_id -1.  So every frame of the video is in some row, and no track has a hole in its rows.
    """

    def __init__(
        self,
        model: Model,
        source: Any,
        prompts: PromptSet,
        *,
        start_s: float,
        end_s: float | None,
        faces: FaceConfig,
        windows: WindowConfig,
        segments: SegmentConfig,
        scores: bool,
        baseline: Baseline | str | os.PathLike[str] | None,
        keep_pictures: bool,
        fps: float,
        allow_urls: bool,
        progress: Callable[[float], None] | None,
        precision: str | None = None,
        one_clip: bool = True,
    ) -> None:
        start_s, end_s = check_span(start_s, end_s)
        fps = check_fps(fps)
        check_flags(scores=scores, keep_pictures=keep_pictures, allow_urls=allow_urls, one_clip=one_clip)
        check_progress(progress)
        for name, given, kind in (("windows", windows, WindowConfig), ("segments", segments, SegmentConfig)):
            if not isinstance(given, kind):
                raise ConfigError(f"{name}={shown(given)}: give a {kind.__name__}")
        baseline = None if baseline is None else Baseline.of(baseline)
        self.baseline = baseline
        self.model, self.source, self.labels = model, source, prompts.labels
        self.start_s, self.end_s = start_s, end_s
        self.faces, self.windows, self.segments = faces, windows, segments
        self.keep_pictures, self.fps, self.allow_urls = keep_pictures, fps, allow_urls
        self.one_clip = one_clip
        self.progress = progress
        self.precision = precision  # what the command line asked for, if one did
        prompts.check_asked(scores=scores, baseline=baseline is not None)
        self.text, doubtful = model.read_labels(prompts)
        self._teachers = prompts.teachers()
        doubtful.tell()
        self.label_warnings = doubtful.lines()
        self.scores, self.auto = bool(scores), baseline is not None and baseline.auto
        self.rest: Rest | None = None
        if baseline:
            kept = is_recording(source) or isinstance(source, Recording)
            looked = faces if kept else self._settled[0]
            self.rest = Rest(
                model, source, baseline, looked, windows=windows, fps=fps, start_s=start_s, end_s=end_s
            )
        model.runtime.close_text()
        self.name = ""
        self.duration_s: float | None = None
        self.ended_s: float | None = None  # of what was cut off before that
        self.live = False  # of a stream or camera: known once it is read
        self.content: Content | None = None  # of the source, if somebody asked for it
        self._met: list[str] = []  # what the recording carries as its warnings
        self._recording: Recording | None = None
        self.seen_as: Key | None = None  # of the recording that is asked, if one is
        self._lacks: list[str] = []  # what was asked for and a recording cannot give
        self._seen: dict[int, tuple[float, float]] = {}  # when each face was first and last seen
        # Of where each face reads most strongly as each label.
        self._pictures: dict[tuple[int, str], Kept] = {}
        self._places: dict[int, list[Moment]] = {}  # of each face in the stretch that shows it at rest
        self._rested = False  # whether that stretch is over
        self._readable: dict[int, list[NDArray[np.float32]]] = {}  # of each face, for its rest with `auto`
        self._unknown: set[str] = set()  # cut-offs that were asked of what is not known
        self._began = False

    def __iter__(self) -> Iterator[Window]:
        if self._began:
            raise InputError(
                "a timeline is read once; keep its windows or what `read()` gave, or ask the model again"
            )
        self._began = True
        # A recording that was found on a shelf stands for the input that was named.
        asked = asked_rate(self.fps)
        self._lacks = as_watched(self.content.source if self.content else self.source, asked, self.precision)
        if is_recording(self.source):
            self.source = Recording.read(Path(self.source), model=self.model.package.seen_by)
        if isinstance(self.source, Recording):
            kept = self.source
            kept.check_span(self.start_s, self.end_s)
            self.name, self.duration_s, self.ended_s = kept.name, kept.duration_s, kept.ended_s
            self._met = kept.warnings
            self.seen_as, rate = kept.key, embedding_rate(self.model, self.windows.length_s)
            asked = None if self._lacks else asked
            self.faces, lines = as_recorded(kept.key, self.faces, asked, self.precision)
            self._lacks += lines
            if line := too_sparse(self.model, kept.key, self.windows.length_s):
                self._lacks.append(line)
            if self.keep_pictures and self.precision is None:  # the command line keeps them unasked
                self._lacks.append("keep_pictures=True: there are none in a recording; ask the video")
            yield from self._windows(
                kept.between(self.start_s, self.end_s, rate), min(rate, kept.key.rate or rate)
            )
            return
        with open_video(
            self.source,
            start_s=self.start_s,
            end_s=self.end_s,
            fps=self.fps,
            allow_urls=self.allow_urls,
            one_clip=self.one_clip,
        ) as video:
            self.name, self.duration_s, self.live = video.name, video.duration_s, video.live
            rate = embedding_rate(self.model, self.windows.length_s)
            progress, start_s = self.progress, self.start_s
            told = (lambda time_s: progress(time_s - start_s)) if progress else None
            faces, notes = self._settled
            self._met[:] = notes
            seen = watching.looks(self.model, video, watched(faces), rate, self.keep_pictures, told)
            if self._recording:
                self._recording.name, self._recording.duration_s = self.name, self.duration_s
                seen = self._recording.listen(seen)
            try:
                yield from self._windows(seen, rate)
            finally:
                self._met[:], self.ended_s = [*notes, *video.warnings], video.ended_s
                if self._recording:
                    self._recording.ended_s = self.ended_s
        if self.content:  # by which what was seen will be found again
            self.content.check()

    def record(self) -> Recording:
        """Keep what will be seen, without pictures; ask before iterating, it is whole when the stream is read."""
        self._recording = Recording("", None, self.key, self.model.package.width, self._met)
        return self._recording

    @property
    def warnings(self) -> list[str]:
        """What was met so far that did not stop the reading, one line each."""
        return [*(self.rest.notes if self.rest else []), *self._lacks, *self._met]

    @cached_property
    def _settled(self) -> tuple[FaceConfig, list[str]]:
        """How faces are looked for here, and what is to be known of that."""
        return settled(self.faces)

    @cached_property
    def key(self) -> Key:
        """What is asked to be seen."""
        self.content = self.content or Content.of(self.source)
        window_s = self.windows.length_s
        return asked(self.model, self.content, self._settled[0], window_s, self.start_s, self.end_s, self.fps)

    def read(self) -> Timeline:
        """Read to the end: windows (smoothed if asked), segments, tracks, summary and peaks."""
        return self.result(list(self))

    def result(self, windows: Sequence[Window]) -> Timeline:
        """Make a Timeline of the windows that came so far."""
        windows = smooth(windows, self.segments.smooth_s)
        segments = find_segments(windows, self.labels, self.segments, self._seen)
        tracks, summary = summarise(windows, segments, self.labels, self._seen)
        return Timeline(
            input=self.name,
            model=self.model.package.name,
            model_sha256=self.model.package.digest,
            detector=used(self.faces if self.seen_as else self._settled[0]),
            labels=self.labels,
            duration_s=self.duration_s,
            windows=windows,
            segments=segments,
            tracks=tracks,
            summary=summary,
            peaks=find_peaks(windows, self.labels, self._pictures, self.segments.smooth_s, self._seen),
            warnings=self.warnings,
            scored=self.scores,
            label_warnings=self.label_warnings,
            read_s=self._read_s(windows),
            unread=find_unread(windows, segments, self._seen),
            settings=self._unusual(),
            taught=self._taught(),
        )

    def _taught(self) -> dict[str, Any] | None:
        """What taught the labels, and whether this input did, as far as both are known."""
        if (found := self._teachers) is None:
            return None
        own = self.seen_as.input if self.seen_as else self.content and self.content.at(self.fps)
        return found | {"this_video": own in found["videos"] if own and found["videos"] else None}

    def _unusual(self) -> dict[str, Any]:
        """The settings that change what is found, and are not the usual ones; but for the detector, told anyway."""
        found = {
            f"{part}.{name}": value
            for part, given, usual in (
                ("faces", self.faces, FaceConfig("all")),
                ("windows", self.windows, WindowConfig()),
                ("segments", self.segments, SegmentConfig()),
            )
            for name, value in unusual(given, usual).items()
            if name != "detector"
        }
        return found if self.baseline is None else found | {"baseline": str(self.baseline)}

    def _read_s(self, windows: Sequence[Window]) -> tuple[float, float] | None:
        """What of the input was asked for and is there: in a recording, what was watched."""
        kept = self.seen_as
        start_s = max(self.start_s, kept.start_s if kept else 0.0)
        ends = [end for end in (self._end_s, self.ended_s) if end]
        end_s = min(ends, default=windows[-1].until_s if windows else 0.0)
        return (start_s, end_s) if end_s > start_s else None

    @property
    def _end_s(self) -> float | None:
        """Where what is read should end, None where that is not known beforehand."""
        kept = self.seen_as
        ends = (self.end_s, kept.end_s if kept else None, self.duration_s)
        return min((end for end in ends if end), default=None)

    def _windows(self, frames: Iterator[Looks], rate: float) -> Iterator[Window]:
        """rate: how many of the frames a second are embedded, if there are as many."""
        waiting: list[Draft] = []
        drafts: Iterable[Draft] = cut(self._noted(frames), self.faces, self.windows, self._end_s)
        if self.rest and self.auto:  # a resting face is known once all of it was seen
            if self.live:
                raise InputError(
                    f"{self.name}: baseline auto needs the whole video; name a file or a stretch"
                )
            drafts = list(drafts)
            told = sorted({draft.track_id for draft in drafts if draft.status == "ok"})
            frame_s = max(1 / rate, median_low([draft.frame_s for draft in drafts] or [0.0]))
            self.rest.meet({track: np.stack(self._readable[track]) for track in told}, frame_s)
            self._readable = {}
        elif self.rest and self.rest.stretch:
            drafts = self._held(drafts)
        for draft in drafts:
            waiting.append(draft)
            if self.live or len(waiting) >= WINDOW_BATCH:
                yield from self._rows(waiting)
                waiting = []
        yield from self._rows(waiting)
        if self._unknown:
            asked = " and ".join(sorted(self._unknown))
            name = self.source.called if isinstance(self.source, Recording) else self.name
            warn_caller(
                f"{name}: {asked} left nothing out where it is not known, in faces without points (Haar) or "
                "recordings of an earlier version",
                InputWarning,
            )

    def _noted(self, frames: Iterator[Looks]) -> Iterator[Looks]:
        """Pass frames on, noting who is seen when, and where in the stretch that shows them at rest."""
        from_s, to_s = (self.rest and self.rest.stretch) or (math.inf, -math.inf)
        for time_s, looks in frames:
            for each in looks:
                first_s, _ = self._seen.get(each.track_id, (time_s, time_s))
                self._seen[each.track_id] = first_s, time_s
                if each.embedding is None:
                    continue
                # One moment before it and one after tell who is seen at no other.
                if not self._rested and (from_s <= time_s or each.track_id not in self._places):
                    self._places.setdefault(each.track_id, []).append((time_s, each.place))
                if self.auto and doubt(each.quality, self.faces, self.windows) is None:
                    self._readable.setdefault(each.track_id, []).append(each.embedding)
            self._rested = time_s >= to_s
            yield time_s, looks

    def _held(self, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """Hold drafts back until all of the stretch was seen that shows people at rest."""
        assert self.rest
        held: list[Draft] = []
        for draft in drafts:
            held.append(draft)
            if self._rested:
                self.rest.place(self._places)
                self._places = {}
                yield from held
                held = []
        self.rest.place(self._places)
        yield from held

    def _rows(self, drafts: list[Draft]) -> Iterator[Window]:
        """Run the temporal part over the readable windows and yield all, in order."""
        readable = [draft for draft in drafts if draft.status == "ok"]
        clips = self.model.compared([draft.embeddings for draft in readable], self.text)
        if self.rest:
            found = [self.rest.of(draft.track_id) for draft in readable]
            clips = self.rest.taken_out(clips, np.reshape(found, clips.shape))
        shares = iter(self.model.probabilities(clips, self.text).tolist())
        scores = iter(self.model.intensities(clips, self.text).tolist() if self.scores else [])
        unread = dict.fromkeys(self.labels, math.nan)
        for draft in drafts:
            read = draft.status == "ok"
            probs = dict(zip(self.labels, next(shares), strict=True)) if read else unread
            scored = None
            if self.scores:
                scored = dict(zip(self.labels, next(scores), strict=True)) if read else unread
            top = max(probs, key=probs.__getitem__) if draft.status == "ok" else ""
            window = Window(
                draft.track_id,
                draft.start_s,
                draft.end_s,
                draft.status,
                draft.coverage,
                draft.score,
                top,
                probs,
                scored,
                draft.quality,
                draft.frame_s,
            )
            if top:
                self._keep_picture(window, draft.picture)
                self._unknown |= unknown(window.quality, self.windows)
            yield window

    def _keep_picture(self, window: Window, picture: NDArray[np.uint8] | None) -> None:
        if picture is None:
            return
        kept, track_id = self._pictures, window.track_id
        best = [
            label
            for label, prob in window.probs.items()
            if (track_id, label) not in kept or prob > kept[track_id, label].prob
        ]
        if best:  # one picture for all of them
            data = _jpeg(picture)
            kept.update(
                ((track_id, label), Kept(window.centre_s, window.probs[label], data)) for label in best
            )


def _jpeg(picture: NDArray[np.uint8]) -> bytes | None:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    return bytes(data) if done else None
