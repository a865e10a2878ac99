"""Is a data set on disk what its lists say, and what was published?  Everything that would spoil scores, said."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

from emoclip.datasets.clips import Clip, Dataset
from emoclip.errors import InputError, counted, few
from emoclip.video import is_picture, natural_order, open_video, read_picture

WORKERS = 2
SHOWN = 5
_ARCHIVES = {".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".001"}


@dataclass
class Report:
    """What a check found.

    counts: (fold, split) -> class -> clips.  problems: what would spoil scores.  remarks: what is good to know.
    sizes: frame size `224x224` -> clips.  frames: smallest, middle and largest number of frames per clip, if known.
    """

    counts: dict[tuple[int | None, str | None], Counter[str]]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    frames: tuple[int, float, int] | None = None


@dataclass(frozen=True)
class _Seen:
    """A clip as it is on disk.  frames: None for a video that was not decoded to its end."""

    size: str = ""
    frames: int | None = None
    trouble: str = ""
    detail: str = ""


def check(
    dataset: Dataset, *, thorough: bool = False, progress: Callable[[int], None] = lambda done: None
) -> Report:
    """Compare lists, files and published counts.

    thorough: decode every frame, not only the first and last of a folder and the first of a video.
    progress: called with the number of distinct clips looked at.
    """
    report = _check_lists(dataset)
    clips = list({clip.id: clip for clip in dataset.clips}.values())
    with ThreadPoolExecutor(WORKERS) as pool:
        seen = []
        for done, item in enumerate(pool.map(lambda clip: _look(clip, thorough), clips), start=1):
            seen.append(item)
            progress(done)
    _check_files(dataset, clips, seen, report)
    return report


def list_problems(dataset: Dataset) -> list[str]:
    """Return the problems that `check` would find without opening a file: of the lists, and clips that are missing."""
    missing = {clip.id: None for clip in dataset.clips if clip.image is None and not clip.path.exists()}
    return _check_lists(dataset).problems + ([f"{_some(list(missing))} missing"] if missing else [])


def _check_lists(dataset: Dataset) -> Report:
    report = Report(_counts(dataset.clips))
    _check_counts(dataset, report)
    _check_splits(dataset, report)
    return report


def _counts(clips: Iterable[Clip]) -> dict[tuple[int | None, str | None], Counter[str]]:
    counts: dict[tuple[int | None, str | None], Counter[str]] = defaultdict(Counter)
    for clip in clips:
        counts[clip.fold, clip.split][clip.label or ""] += 1
    return dict(sorted(counts.items(), key=lambda place: place[0][0] or 0))


def _check_counts(dataset: Dataset, report: Report) -> None:
    for split, published in dataset.published.items():
        found = len({clip.id for clip in dataset.clips if split in ("all", clip.split)})
        where = "" if split == "all" else f" in {split}"
        line = f"{found:,} clips{where}, {published:,} were published"
        (report.remarks if found == published else report.problems).append(line)
    for split in dict.fromkeys([*dataset.splits, *filter(None, [dataset.test_split])]):
        if folds := dataset.empty(split):
            report.problems.append(absent(folds, split))
    # Of classes, the splits that lack them, and in which folds.
    without: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (fold, named), counter in report.counts.items():
        lacking = [name for name in dataset.classes if not counter[name]]
        if lacking and not dataset.compound:
            without[", ".join(lacking)][named or ""] += [fold] if fold else []
    for lost, places in without.items():
        where = " and ".join(f"{_folds(at)} {part}".strip() or "the manifest" for part, at in places.items())
        line = f"no clip of {lost} in {where}: UAR would be a mean over the other classes"
        (report.remarks if dataset.name == "manifest" else report.problems).append(line)
    if left_over := dataset.left_over():
        report.remarks.append(left_over)
    if dataset.unscorable:
        report.problems.append(f"{dataset.root.name} {dataset.unscorable}")
    unlabelled = [clip for clip in dataset.clips if clip.label is None]
    if bare := [clip.id for clip in unlabelled if not clip.caption]:
        report.problems.append(f"{_some(bare)} without a label or a caption")
    described = [clip for clip in unlabelled if clip.caption]
    if described:
        ids = [clip.id for clip in described]
        report.remarks.append(f"{_some(ids)} with a caption alone: can be trained on, not scored")
    tested = [clip.id for clip in described if clip.split and clip.split == dataset.test_split]
    if tested and dataset.classes:
        report.problems.append(
            f"{_some(tested)} of the {dataset.test_split} split without a label to score against"
        )


def absent(folds: Sequence[int], split: str) -> str:
    """Say which folds have no clip in a split."""
    return f"no {split} clip in {_folds(folds)}: the list is empty, or not there"


def _folds(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}" if folds else ""


def _check_splits(dataset: Dataset, report: Report) -> None:
    labels: dict[str, set[str | None]] = defaultdict(set)
    places: dict[str, Counter[tuple[int | None, str | None]]] = defaultdict(Counter)
    for clip in dataset.clips:
        labels[clip.id].add(clip.label)
        places[clip.id][clip.fold, clip.split] += 1
    if several := [name for name, found in labels.items() if len(found) > 1]:
        report.problems.append(f"{_some(several)} with different labels in different lists")
    if twice := [name for name, found in places.items() if max(found.values()) > 1]:
        report.problems.append(f"{_some(twice)} twice in one list")
    leaked = [name for name, found in places.items() if _leaks(found)]
    if leaked:
        report.problems.append(f"{_some(leaked)} in train and in test or val of the same fold")
    tested = {name: [fold for fold, split in found if split == "test"] for name, found in places.items()}
    if again := [name for name, folds in tested.items() if len(folds) > 1]:
        report.problems.append(f"{_some(again)} in the test lists of several folds")
    subjects: dict[tuple[int | None, str], set[str | None]] = defaultdict(set)
    for clip in dataset.clips:
        if clip.subject:
            subjects[clip.fold, clip.subject].add(clip.split)
    if shared := [f"{name}" for (_, name), splits in subjects.items() if len(splits) > 1]:
        report.remarks.append(
            f"subjects in several splits: {', '.join(sorted(set(shared))[:SHOWN])} ({len(shared)})"
        )


def _leaks(found: Iterable[tuple[int | None, str | None]]) -> bool:
    splits: dict[int | None, set[str | None]] = defaultdict(set)
    for fold, split in found:
        splits[fold].add(split)
    return any("train" in names and len(names) > 1 for names in splits.values())


def _look(clip: Clip, thorough: bool) -> _Seen:
    try:
        if clip.image is not None:
            return _Seen(_size(read_picture(io.BytesIO(clip.image)).shape), 1)
        if clip.path.is_dir():
            return _look_at_folder(clip, thorough)
        if not clip.path.exists():
            return _Seen(trouble="missing")
        if clip.path.stat().st_size == 0:
            return _Seen(trouble="empty")
        if is_picture(clip.path):
            return _Seen(_size(read_picture(clip.path).shape), 1)
        with open_video(clip.path) as video:
            size = f"{video.width}x{video.height}"
            if not thorough:
                return _Seen(size)
            count = sum(1 for _ in video)
            trouble = "damaged" if video.warnings else ""
            return _Seen(size, count, trouble, "; ".join(video.warnings))
    except InputError as error:
        return _Seen(trouble="undecodable", detail=str(error))


def _look_at_folder(clip: Clip, thorough: bool) -> _Seen:
    pictures = natural_order(path for path in clip.path.iterdir() if is_picture(path))
    if not pictures:
        return _Seen(trouble="empty")
    sizes = {
        _size(read_picture(path).shape) for path in (pictures if thorough else {pictures[0], pictures[-1]})
    }
    if clip.frames is not None and len(pictures) < clip.frames:
        detail = f"{len(pictures)} of {clip.frames} listed"
        return _Seen(sizes.pop(), len(pictures), "with fewer frames than the list says", detail)
    return _Seen(sizes.pop() if len(sizes) == 1 else "mixed", len(pictures))


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _check_files(dataset: Dataset, clips: Sequence[Clip], seen: Sequence[_Seen], report: Report) -> None:
    troubles: dict[str, list[str]] = defaultdict(list)
    for clip, found in zip(clips, seen, strict=True):
        if found.trouble:
            troubles[found.trouble].append(f"{clip.id} ({found.detail})" if found.detail else clip.id)
        if found.size:
            report.sizes[found.size] += 1
    for trouble, names in troubles.items():
        report.problems.append(f"{_some(names)} {trouble}")
    folder = dataset.root if dataset.root.is_dir() else dataset.root.parent
    archives = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _ARCHIVES)
    if archives and ("missing" in troubles or "empty" in troubles):
        report.remarks.append(
            f"archives lie beside, perhaps not or half extracted: {', '.join(archives[:SHOWN])}"
        )
    if len(report.sizes) > 1:
        common = ", ".join(f"{size} ({count})" for size, count in report.sizes.most_common(SHOWN))
        report.remarks.append(f"frames come in {len(report.sizes)} sizes: {common}")
    if dataset.cropped and dataset.name != "manifest" and report.sizes:
        width, _, height = report.sizes.most_common(1)[0][0].partition("x")
        if height and width != height:
            report.remarks.append(f"most frames are {width}x{height}, not square: are these the face crops?")
    more = [
        clip.id
        for clip, found in zip(clips, seen, strict=True)
        if clip.frames is not None and found.frames is not None and found.frames > clip.frames
    ]
    if more:
        report.remarks.append(
            f"{_some(more)} with more frames than the list says: another extraction than its author's"
        )
    lengths = [found.frames for found in seen if found.frames is not None]
    if lengths:
        report.frames = (min(lengths), median(lengths), max(lengths))
    if uncounted := sum(bool(found.size) and found.frames is None for found in seen):
        report.remarks.append(f"frames of {counted(uncounted, 'video')} not counted; --thorough counts them")


def _some(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'clip')} ({few(names, SHOWN)})"
