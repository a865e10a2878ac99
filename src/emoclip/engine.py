"""The main path: frames, faces, embeddings, labels, probabilities."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.config import (
    FaceConfig,
    Progress,
    SegmentConfig,
    WindowConfig,
    check_flags,
    check_fps,
    check_progress,
    check_span,
)
from emoclip.errors import (
    ConfigError,
    EmoclipError,
    InputError,
    InputWarning,
    in_one_line,
    kind_of,
    warn_caller,
)
from emoclip.faces import Face, FaceFollower, Note, crop_face, settled, used
from emoclip.model import (
    Package,
    Precision,
    Runtime,
    check_crops,
    check_vectors,
    covering_windows,
    label_scores,
    label_shares,
    load,
    mean_frames,
    prepare,
    read_labels,
    unit,
)
from emoclip.model import package as packages
from emoclip.prompts import Doubts, Labels, PromptSet, resolve
from emoclip.recording import Recording, SeenFrame
from emoclip.results import Classification, FaceResult
from emoclip.seeing import Person, by_person, see
from emoclip.timeline import Baseline, Rest, TimelineStream, as_watched, clip_rate, read_until, record
from emoclip.video import Frame, Video, asked_rate, at_work, called, expand_inputs, open_video

CROP_BATCH = 16  # crops embedded at once: 32 are no quicker, and take 45 MB more with ViT-B/32
CLIP_BATCH = 8  # clips through the temporal part at once; more are no quicker, and take memory


class EmoCLIP:
    """A model package ready to use.  Make one with `EmoCLIP.load()`.

    Threads may share one; it can be pickled to other processes, which read and verify the package anew.
    """

    def __init__(self, package: Package, runtime: Runtime) -> None:
        self.package = package
        self.runtime = runtime

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] = packages.BUNDLED,
        *,
        threads: int | None = None,
        provider: str = "CPU",
        precision: Precision = "auto",
    ) -> "EmoCLIP":
        """Load a package by bundled name, cache name or path, or by `hub:org/name`, which may be downloaded.

        precision: of the image tower: fp32, bf16, int8, or auto, which is int8 where the package carries it and the
        processor computes it natively, else fp32.  Raises PackageError, ConfigError.
        """
        package = load(name)
        return cls(package, Runtime(package, threads=threads, provider=provider, precision=precision))

    def classify(
        self,
        source: Any,
        labels: Labels,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        faces: FaceConfig | str = "largest",
        fps: float = 25.0,
        scores: bool = False,
        baseline: Baseline | str | os.PathLike[str] | None = None,
        allow_urls: bool = True,
        one_clip: bool = False,
        progress: Progress | None = None,
    ) -> Classification:
        """Say how the faces of one input read against labels.

        source: a video or picture file, a folder of frames, an array (H, W, 3) or (T, H, W, 3) uint8 RGB, a tensor,
        a Pillow image, bytes, a camera's number, a list of arrays or picture paths, an iterator of arrays or of pairs
        (time_s, array), all that `open_video` takes; or a Video, opened with this start_s and end_s, which is then
        closed.
        labels: whatever `prompts.resolve` takes.  faces: a FaceConfig, or its mode.
        fps: frames per second of what has no times of its own: arrays, lists and folders of pictures.
        scores: say of each label on its own too how strongly it shows.  baseline: where the person is seen at rest,
        which is taken out before labels are compared: a Baseline, or "auto", "0-3.5" or a file as on the command line.
        allow_urls: False on a server that is given names by others: an address is then an InputError.
        one_clip: a folder's pictures are frames of one clip, though they are not alike; else such a folder is an
        InputError.
        progress: called with one number, the seconds of video done.  Raises InputError, ConfigError.
        """
        prompts = resolve(labels)
        faces, start_s, end_s, fps, baseline = _checked(
            prompts,
            start_s=start_s,
            end_s=end_s,
            faces=faces,
            fps=fps,
            scores=scores,
            baseline=baseline,
            allow_urls=allow_urls,
            one_clip=one_clip,
            progress=progress,
        )
        config, looked = settled(faces)
        text, doubtful = self.read_labels(prompts)
        doubtful.tell()
        _refuse_recording(source)
        rest = (
            Rest(self, source, baseline, config, fps=fps, start_s=start_s, end_s=end_s) if baseline else None
        )
        if not isinstance(source, Video):
            looked += as_watched(source, asked_rate(fps))
            source = open_video(
                source, start_s=start_s, end_s=end_s, fps=fps, allow_urls=allow_urls, one_clip=one_clip
            )
        with source as video:
            if not video.still:
                self.runtime.close_text()  # to open it again is nothing beside a film
            rate = clip_rate(self, video, start_s, end_s)
            times: list[float] = []

            def seen(time_s: float) -> None:
                times.append(time_s)
                if progress:
                    progress(time_s - start_s)

            ranked, frames = by_person(self.watch(video, config, rate), seen)
            if config.mode == "largest":
                ranked = ranked[:1]
            clips = {person.track_id: np.stack(person.embeddings) for person in ranked}
            name, notes = video.name, video.warnings
            duration_s = video.duration_s
            if duration_s is None:  # a file that does not tell, or a stream: as long as it was read
                duration_s = read_until(times or [start_s], end_s)
        results = []
        if rest:
            rest.meet(clips, max(1 / rate, median_low(np.diff(times).tolist() or [0.0])))
            rest.place({person.track_id: person.moments for person in ranked})
        for person in ranked:
            clip = self.compared([clips[person.track_id]], text)[0]
            if rest:
                clip = rest.taken_out(clip, rest.of(person.track_id))
            results.append(self._result(person, clip, prompts.labels, text, frames, scores))
        return Classification(
            input=name,
            model=self.package.name,
            labels=prompts.labels,
            status="ok" if results else "no_face",
            duration_s=round(duration_s, 3),
            faces=results,
            warnings=[*(rest.notes if rest else []), *looked, *notes],
            label_warnings=doubtful.lines(),
            model_sha256=self.package.digest,
            detector=used(config),
            taught=prompts.teachers(),
            scored=scores,
        )

    def classify_many(
        self,
        sources: Any,
        labels: Labels,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        faces: FaceConfig | str = "largest",
        fps: float = 25.0,
        scores: bool = False,
        baseline: Baseline | str | os.PathLike[str] | None = None,
        allow_urls: bool = True,
        one_clip: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Classification]:
        """Classify inputs one after the other, and yield a result for each as it is done.

        sources: any number of what `classify` takes.  A name among them, or alone, may also be a folder of videos or of
        pictures, or a pattern (`talks/*.mp4`), and stands for as many inputs as on the command line; an
        InputWarning says what was guessed or left out.
        The rest as in `classify`; one_clip=True takes every folder's pictures for one clip.  An input that cannot be
        read gives a result of status `error` with the reason, and the others are done.  Raises InputError for labels,
        ConfigError.
        """
        prompts = resolve(labels)
        if isinstance(sources, (str, os.PathLike)):
            sources = [sources]
        # An array, an opened video and a file are iterable, over their rows, frames and lines.
        single = isinstance(sources, (bytes, bytearray, memoryview, Video)) or hasattr(sources, "read")
        if single or 1 < getattr(sources, "ndim", 1) < 5 or not isinstance(sources, Iterable):
            raise InputError("sources: a single input; give a list of them, or ask `classify`")
        options: dict[str, Any] = {
            "start_s": start_s,
            "end_s": end_s,
            "faces": faces,
            "fps": fps,
            "scores": scores,
            "baseline": baseline,
            "allow_urls": allow_urls,
            "one_clip": one_clip,
            "progress": progress,
        }
        _checked(prompts, **options)  # now, not when the first result is asked for
        return self._classify_each(_expanded(sources, one_clip), prompts, options)

    def _classify_each(
        self, sources: Iterable[Any], prompts: PromptSet, options: dict[str, Any]
    ) -> Iterator[Classification]:
        for source in sources:
            own = isinstance(source, Iterator) and not hasattr(source, "read")
            try:
                result = self.classify(_watched(source) if own else source, prompts, **options)
            except InputError as error:
                result = self.failed(source, prompts, error, scores=options["scores"])
            yield result

    def failed(
        self, source: Any, labels: Labels, error: Exception, *, scores: bool = False
    ) -> Classification:
        """Return the result of an input that cannot be read.  error: why.  The rest as in `classify`."""
        name, prompts = called(source), resolve(labels)
        return Classification(
            input=name,
            model=self.package.name,
            labels=prompts.labels,
            status="error",
            error=in_one_line(error, name),
            model_sha256=self.package.digest,
            taught=prompts.teachers(),
            scored=scores,
        )

    def timeline(
        self,
        source: Any,
        labels: Labels,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        faces: FaceConfig | str = "all",
        windows: WindowConfig | None = None,
        segments: SegmentConfig | None = None,
        scores: bool = False,
        baseline: Baseline | str | os.PathLike[str] | None = None,
        keep_pictures: bool = False,
        fps: float = 25.0,
        allow_urls: bool = True,
        one_clip: bool = False,
        progress: Progress | None = None,
    ) -> TimelineStream:
        """Say how each face reads over time: iterate for windows while the video runs, or `.read()` the whole.

        source, labels, start_s, end_s, faces, fps, scores, baseline, allow_urls, one_clip, progress: as in
        `classify`; a stream may never end.
        keep_pictures: keep a small picture of each track's strongest moment per label.
        Raises InputError, ConfigError.
        """
        return TimelineStream(
            self,
            source,
            resolve(labels),
            start_s=start_s,
            end_s=end_s,
            faces=FaceConfig.of(faces),
            windows=WindowConfig() if windows is None else windows,
            segments=SegmentConfig() if segments is None else segments,
            scores=scores,
            baseline=baseline,
            keep_pictures=keep_pictures,
            fps=fps,
            allow_urls=allow_urls,
            one_clip=one_clip,
            progress=progress,
        )

    def record(
        self,
        source: Any,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        fps: float = 25.0,
        faces: FaceConfig | str = "all",
        window_s: float = WindowConfig.length_s,
        allow_urls: bool = True,
        one_clip: bool = False,
        progress: Callable[[float, float | None], None] | None = None,
    ) -> Recording:
        """See an input once, to ask many times: `timeline` takes the recording, or the file it is written to.

        source, start_s, end_s, fps, allow_urls, one_clip: as in `classify`.
        window_s: the shortest window that will be asked for, in seconds, in [0.05, 3600].
        progress: called with two numbers, the seconds done, and of how many, None for a stream.
        Raises InputError, ConfigError.
        """
        _refuse_recording(source)
        return record(
            self,
            source,
            faces=FaceConfig.of(faces),
            window_s=window_s,
            start_s=start_s,
            end_s=end_s,
            fps=fps,
            allow_urls=allow_urls,
            one_clip=one_clip,
            progress=progress,
        )

    def watch(
        self, video: Video, config: FaceConfig, rate: float, *, batch: int = CROP_BATCH, prompt: bool = False
    ) -> Iterator[SeenFrame]:
        """Follow and embed the faces of a video: each frame is decoded, cropped and embedded once.

        rate: frames per second of video that are embedded; faces are followed in all of them.
        batch: crops embedded at once.  prompt: or fewer, where no more are known before another frame has come: for a
        live input, where waiting is worse than computing slower.
        Yields one SeenFrame per frame, in order, as soon as its batch is done.

        With more than one thread, decoding, and following with cropping, run ahead in a thread each while the batches
        before are embedded here; what is yielded is the same to the last bit.
        """
        if not isinstance(video, Video):
            raise InputError(f"{kind_of(video)}, no Video; give what `open_video` returns")
        rate = check_fps(rate, "rate")
        ahead = self.runtime.threads > 1
        follower = self._follower(FaceConfig.of(config), video.note, prompt=prompt)
        return see(
            video,
            follower,
            rate,
            crop=self._crop,
            embed=self.embed_frames,
            batch=batch,
            ahead=ahead,
            prompt=prompt,
        )

    def embed_text(self, labels: Labels, *, strict: bool = False) -> NDArray[np.float32]:
        """Embed labels, (K, D) unit rows; labels that were taught have rows (K, 2 D + 1), see `Taught`.

        With a label `not X` among them the rows are (K, D + 1), see `denying_rows`, if the package has calibrated
        scores; if not, X's words are read with the "not", which models overlook.

        A label is the mean over its parts (compound emotions, paper sec. III-C) of the mean over their sentences.
        Sentences are embedded once per package and machine (see `textcache`).  `none of these` has the zero row, which
        `probabilities` knows; raises ConfigError if the package has no threshold for it.
        What `read_labels` finds wrong is a LabelWarning, or an InputError if `strict`.
        """
        check_flags(strict=strict)
        vectors, found = self.read_labels(labels)
        found.tell(strict=strict)
        return vectors

    def read_labels(self, labels: Labels) -> tuple[NDArray[np.float32], Doubts]:
        """Embed labels as `embed_text` does, and say which of them are doubtful, without a warning."""
        with at_work():
            return read_labels(self.package, self.runtime.read, resolve(labels))

    def embed_frames(self, crops: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed face crops.  crops: T arrays (h, w, 3) uint8 RGB, or one (T, h, w, 3).

        Returns (T, D) float32, not normalised.  Raises InputError for anything else.
        """
        check_crops(crops)
        with at_work():
            return self.runtime.image(prepare(list(crops), self.package.pixels))

    def embed_clip(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a clip of any length.  frames: (T, D) from `embed_frames`.  Returns (D,), length 1.

        The temporal part sees `frames_per_clip` frames at a time: a shorter clip is stretched to that by repeating
        frames evenly; a longer one is covered by the fewest evenly placed windows, whose unit embeddings are averaged.
        Raises InputError for anything else.
        """
        clip: NDArray[np.float32] = self.embed_clips([frames])[0]
        return clip

    def embed_clips(self, clips: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed N clips as `embed_clip` does, in batches.  clips: N arrays (T, D), or one (N, T, D).

        Returns (N, D), unit rows.  Raises InputError for anything else.
        """
        if not isinstance(clips, (Sequence, np.ndarray)):
            raise InputError(f"clips: {kind_of(clips)}; give a list of what `embed_frames` returns")
        for frames in clips:
            check_vectors("frames", frames, [self.package.width], "`embed_frames`", table=True)
        if self.package.temporal == "mean":
            means = [self._temporal(frames[None])[0] for frames in clips]
            return unit(np.reshape(means, (len(clips), self.package.width)))
        length = self.package.frames_per_clip
        spans = [frames[covering_windows(len(frames), length)] for frames in clips]
        none = np.empty((0, length, self.package.width), np.float32)
        flat: NDArray[np.float32] = np.concatenate([none, *spans], dtype=np.float32)
        batches = [flat[at : at + CLIP_BATCH] for at in range(0, len(flat), CLIP_BATCH)]
        embedded = iter([row for batch in batches for row in unit(self._temporal(batch))])
        rows = [np.mean([next(embedded) for _ in span], axis=0) for span in spans]
        return unit(np.reshape(rows, (len(clips), self.package.width)))

    def _temporal(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        with at_work():
            return self.runtime.temporal(clips)

    def compared(
        self, clips: Sequence[NDArray[np.float32]] | NDArray[np.float32], text: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Embed N clips for comparison with `text`: (N, D), or (N, 2 D) with labels that were taught.

        clips: N arrays (T, D) of frames, or one (N, T, D).  text: from `embed_text`.
        """
        self._check_text(text)
        embedded = self.embed_clips(clips)
        if text.shape[1] <= self.package.width + 1:
            return embedded
        return np.concatenate([embedded, mean_frames(list(clips), self.package.width)], axis=1)

    def probabilities(self, clips: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of scaled cosines.  clips: (..., D) unit; text: (K, D) from `embed_text`.  Returns (..., K), sum 1.

        `none of these` counts as a label whose cosine is always the package's threshold, so it wins where no label
        reaches that.  Of taught labels, text (K, 2 D + 1), clips are (..., 2 D), see `compared`.  Raises InputError for
        other shapes, and for numbers that are not finite.
        """
        self._check_compared(clips, text)
        return label_shares(clips, text, self.package.logit_scale, self.package.rejection)

    def intensities(self, clips: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.float64]:
        """How strongly each label shows, whatever the other labels are.  Shapes as in `probabilities`; in [0, 1].

        A score is the share of people who would say that the face shows the label, read off its cosine by a curve
        that was fitted on votes.  `none of these` has no score, NaN.  Raises ConfigError if the package has no curve,
        InputError as `probabilities` does.
        """
        if self.package.intensity is None:
            raise ConfigError(f"model {self.package.name} has no calibrated scores; leave scores out")
        self._check_compared(clips, text)
        return label_scores(clips, text, *self.package.intensity, self.package.logit_scale)

    def _check_text(self, text: Any) -> None:
        width = self.package.width
        check_vectors("text", text, [width, width + 1, 2 * width + 1], "`embed_text`", table=True)

    def _check_compared(self, clips: Any, text: Any) -> None:
        self._check_text(text)
        width = self.package.width
        taught = text.shape[1] > width + 1
        source = "`compared`" if taught else "`embed_clip`"
        check_vectors("clips", clips, [2 * width if taught else width], source)

    def _follower(self, config: FaceConfig, note: Note, *, prompt: bool) -> FaceFollower | None:
        return None if config.mode == "full" else FaceFollower(config, note=note, prompt=prompt)

    def _crop(self, frame: Frame, face: Face) -> NDArray[np.uint8]:
        return crop_face(frame.image, face, self.package.pixels)

    def _result(
        self,
        person: Person,
        clip: NDArray[np.float32],
        labels: list[str],
        text: NDArray[np.float32],
        frames: int,
        scored: bool,
    ) -> FaceResult:
        shares = self.probabilities(clip, text)
        seen_at_s, (x0, y0, x1, y1) = person.typical()
        scores = None
        if scored:
            found = self.intensities(clip, text).tolist()
            rounded = [None if math.isnan(score) else round(score, 6) for score in found]
            scores = dict(zip(labels, rounded, strict=True))
        probs = {label: round(float(share), 6) for label, share in zip(labels, shares, strict=True)}
        return FaceResult(
            track_id=person.track_id,
            start_s=round(person.start_s, 3) + 0.0,  # never -0.0
            end_s=round(person.end_s, 3) + 0.0,
            frames=person.frames,
            coverage=round(person.frames / frames, 4),
            probs=probs,
            top=labels[int(shares.argmax())],
            scores=scores,
            seen_at_s=round(seen_at_s, 3) + 0.0,
            box=(round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)),
        )


def _checked(
    prompts: PromptSet,
    *,
    start_s: float,
    end_s: float | None,
    faces: FaceConfig | str,
    fps: float,
    baseline: Baseline | str | os.PathLike[str] | None,
    progress: Progress | None,
    scores: bool,
    **flags: bool,
) -> tuple[FaceConfig, float, float | None, float, Baseline | None]:
    """Return what the options of `classify` say.  Raises ConfigError."""
    start_s, end_s = check_span(start_s, end_s)
    check_flags(scores=scores, **flags)
    check_progress(progress)
    rest = None if baseline is None else Baseline.of(baseline)
    prompts.check_asked(scores=scores, baseline=rest is not None)
    return FaceConfig.of(faces), start_s, end_s, check_fps(fps), rest


def _refuse_recording(source: Any) -> None:
    if isinstance(source, Recording):
        raise InputError(f"{source.called}: a recording, not a video; ask it with `timeline`")


def _warn(line: str) -> None:
    warn_caller(line, InputWarning)


def _watched(frames: Iterator[Any]) -> Iterator[Any]:
    """Frames of a program's own iterator, of which any error is that of an input, and ends no other."""
    try:
        for frame in frames:  # noqa: UP028 (`yield from` would close what stays the caller's)
            yield frame
    except (EmoclipError, OSError):  # told where it is read
        raise
    except Exception as error:
        raise InputError(in_one_line(error, called(frames))) from error


def _expanded(sources: Iterable[Any], one_clip: bool) -> Iterator[Any]:
    """Each source, of a name all inputs that it stands for."""
    each = False if one_clip else None
    for source in sources:
        if isinstance(source, (str, os.PathLike)):
            yield from expand_inputs([os.fsdecode(source)], each=each, say=_warn)
        else:
            yield source
