"""Who coded which videos: raters, and the time and faces that they can be compared on."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import combinations, pairwise
from pathlib import Path

from emoclip.characters import composed, percent
from emoclip.codings.coding import (
    ANYONE,
    NOTHING,
    SLACK_S,
    Coding,
    Mark,
    merged,
)
from emoclip.codings.tables import stem_of
from emoclip.errors import InputError, LabelError, counted, few
from emoclip.files import told
from emoclip.timeline.spans import Span, intersection, minus, union
from emoclip.video import natural_order

Source = tuple[Path, Sequence[Coding]]
_NUMBER = re.compile(r"track \d+")  # as `track_name` calls a face that has no name
FRAMES = 5  # frames in a second, at the very least


@dataclass(frozen=True)
class Rater:
    """A coder, or a model, and the coding of each video."""

    name: str
    codings: Mapping[str, Coding]

    @property
    def labels(self) -> Counter[str]:
        """How often each label was marked."""
        return Counter(mark.label for coding in self.codings.values() for mark in coding.marks)

    def of(self, video: str) -> Coding:
        """Return its coding of a video; one of no time, where others alone coded that."""
        return self.codings.get(video) or Coding(Path(), video, self.name, (), coded=())


@dataclass(frozen=True)
class Unit:
    """One face of one video, as every rater marked it.

    group: the subject, or the video: what a bootstrap draws.  marks: per rater, marks of one label never overlap.
    coded: per rater, the time that was coded.  open_s: where that ends as the last mark does, since nothing says how
    long the video is; None where it is known.
    """

    video: str
    track: str
    group: str
    marks: tuple[tuple[Mark, ...], ...]
    coded: tuple[tuple[Span, ...], ...]
    open_s: float | None = None


@dataclass
class Pairing:
    """What is compared.

    notes: what a reader of the figures has to know, one line each.  machine: one of the raters is a model.
    taught: a sentence for each model that learnt from what it is compared with, or may have.  unread: one for each that
    could not read some of it.
    """

    raters: list[str]
    units: list[Unit]
    labels: list[str]
    notes: list[str] = field(default_factory=list)
    subjects: bool = False
    machine: bool = False
    taught: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def raters(sources: Sequence[Source]) -> list[Rater]:
    """Return a rater per coder and source, named by the coder, or by the file or folder.

    Raises InputError if there is only one.
    """
    found: list[tuple[str, Path, dict[str, Coding]]] = []
    videos = {coding.video for _, codings in sources for coding in codings}
    for path, codings in sources:
        by_coder: dict[str, dict[str, Coding]] = {}
        for coding in merged(replace(coding, video=mirrored(coding, videos)) for coding in codings):
            by_coder.setdefault(coding.coder, {})[coding.video] = coding
        found += [(coder or stem_of(path) or told(path), path, of) for coder, of in by_coder.items()]
    if len(found) < 2:
        names = f"only {found[0][0]} coded {found[0][1]}" if found else "nothing was coded"
        raise InputError(f"{names}; name a second coding, or a timeline, to compare with")
    if len(sources) == 2 and len(found) == 2 and all(len(of) == 1 for _, _, of in found):
        # Two codings of one video each are of the same video, whatever their files are called.
        (video, _), *_ = found[0][2].items()
        found = [(name, path, {video: next(iter(of.values()))}) for name, path, of in found]
    count = Counter(name for name, _, _ in found)
    named = [f"{name} ({told(path)})" if count[name] > 1 else name for name, path, _ in found]
    if len(set(named)) < len(named):
        named = [f"{name} {number}" for number, name in enumerate(named, 1)]
    return [Rater(name, of) for name, (_, _, of) in zip(named, found, strict=True)]


def mirrored(coding: Coding, videos: Iterable[str]) -> str:
    """Return the coding's video, as `videos` name it if they have several of that name in sub-folders."""
    lies = composed(coding.way or Path(percent(str(coding.file.parent)), coding.video).as_posix())
    return next((v for v in sorted(videos) if "/" in v and f"/{lies}".endswith(f"/{v}")), coding.video)


def pair(
    people: Sequence[Rater],
    *,
    names: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    subjects: Mapping[str, str] | None = None,
    anyone: bool = False,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Pairing:
    """Line up what raters marked in the videos that at least two of them coded.

    names: labels to be read as others.  labels: those to compare, all if None.  subjects: of videos.
    anyone: take the faces of a video together.  Raises InputError where nothing can be compared.
    """
    names = {composed(name): composed(other) for name, other in (names or {}).items()}
    check_names(names, {label for rater in people for label in rater.labels})
    people = [
        Rater(rater.name, {video: coding.renamed(names) for video, coding in rater.codings.items()})
        for rater in people
    ]
    notes: list[str] = []
    _check_models(people)
    _check_labels(people, names)
    coders = Counter(video for rater in people for video in rater.codings)
    shared = natural_order(video for video, count in coders.items() if count > 1)
    if apart := [rater.name for rater in people if not rater.codings.keys() & set(shared)]:
        told = "; ".join(f"{rater.name}: {_listed(rater.codings)}" for rater in people)
        if not shared:
            raise InputError(f"the codings have no video in common ({told}); name the files after the videos")
        raise InputError(
            f"{few(apart)} coded no video that another coder did ({told}); name the files after the videos, or leave "
            "those codings out"
        )
    for rater in people:
        if left := [video for video in rater.codings if video not in shared]:
            notes.append(
                f"{_listed(left)}: coded by {rater.name}"
                f"{', but not by all' if len(people) == 2 else ' alone'}; left out"
            )
        if gone := [video for video in shared if video not in rater.codings]:
            notes.append(f"{_listed(gone)}: not coded by {rater.name}; compared among the others")
    _note_folders(people, shared, notes)
    known = sorted({label for rater in people for label in rater.labels} - {NOTHING})
    chosen = list(map(composed, labels)) if labels is not None else known
    if twice := [label for label, times in Counter(chosen).items() if times > 1]:
        raise LabelError(f"labels: {twice[0]!r} is given twice; remove one")
    for label in chosen:
        if label not in known:
            raise InputError(f"label {label!r} was not marked by anybody{_nearest(label, known)}")
    machine = any(coding.machine for rater in people for coding in rater.codings.values())
    taught = [line for rater in people if (line := _learnt(rater, people, shared))]
    notes += taught
    pairing = Pairing([rater.name for rater in people], [], chosen, notes, machine=machine, taught=taught)
    of, unmatched = match_subjects(subjects or {}, shared)
    notes += unmatched
    groups = {video: _subject(video, people, of) for video in shared}
    pairing.subjects = any(groups.values())
    wrong = []
    unread_s = [0.0] * len(people)
    for video in shared:
        try:
            pairing.units += _units(video, people, groups[video], anyone, start_s, end_s, notes, unread_s)
        except InputError as error:
            wrong.append(str(error))
    if not pairing.units:
        raise InputError(wrong[0])
    notes += [f"{reason}; left out" for reason in wrong]
    pairing.unread = [
        f"for {gone:.1f} s faces could not be read by {rater.name}, so that these count as not coded"
        for rater, gone in zip(people, unread_s, strict=True)
        if gone >= 0.05
    ]
    notes += pairing.unread
    notes += _ends(people, pairing.units, end_s)
    marked = {mark.label for unit in pairing.units for marks in unit.marks for mark in marks}
    if gone := [label for label in chosen if label not in marked]:
        notes += [f"label {label!r} was marked nowhere in what is compared" for label in gone]
        if labels is None and marked:
            pairing.labels = [label for label in chosen if label in marked]
    _note_rare(pairing)
    _note_frames(people, shared, notes)
    return pairing


def _learnt(rater: Rater, people: Sequence[Rater], videos: Sequence[str]) -> str:
    """Say what of that which a model is compared with taught it its labels; "" if nothing did."""
    taught = {video: found for video in videos if (found := rater.of(video).taught)}
    if not taught:
        return ""
    videos = [video for video in videos if video in rater.codings]
    known = frozenset[str]().union(*(found.codings for found in taught.values()))
    by = [
        other.name
        for other in people
        # Codings without a mark are alike, whatever they are of.
        if any((its := other.of(video)).marks and not its.machine and its.digests & known for video in videos)
    ]
    on = [video for video, found in taught.items() if found.this_video]
    if by or on:
        parts = [f"codings of {few(by)}"] * bool(by) + [counted(len(on), "video")] * bool(on)
        return (
            f"{rater.name} learnt its labels from {' and '.join(parts)} that are compared here, so the figures say how "
            "well it repeats those, not how well it codes other videos"
        )
    if all(found.this_video is False for found in taught.values()):
        return ""
    return (
        f"{rater.name} learnt its labels from codings, and no file says if these videos are among them; else the "
        "figures say how well it repeats those, not how well it codes other videos"
    )


def _ends(people: Sequence[Rater], units: Sequence[Unit], end_s: float | None) -> list[str]:
    """Say where the comparison of a video ends, if nobody asked for that."""
    told = []
    last: dict[str, float] = {}  # that two coded
    for unit in units:
        ends = sorted(spans[-1][1] if spans else 0.0 for spans in unit.coded)
        last[unit.video] = max(last.get(unit.video, 0.0), ends[-2])
    endless = [
        video
        for video in last
        if all(rater.of(video).duration_s is None for rater in people)
        and (end_s is None or max(rater.of(video).end_s for rater in people) < end_s)
    ]
    if endless and (end_s is None or len(endless) > 1):
        they_are = "it is" if len(endless) == 1 else "they are"
        where = "the last mark (see --end)" if end_s is None else f"--end {end_s:g}"
        told.append(f"{few(endless)}: no file says how long {they_are}; compared up to {where}")
    if end_s is not None and (short := [v for v, at_s in last.items() if at_s < end_s - SLACK_S]):
        told.append(
            f"{few(short)}: ends, or was coded, no further than {max(last[v] for v in short):g} s; "
            f"compared up to there, not to --end {end_s:g}"
        )
    return told


def match_subjects(rows: Mapping[str, str], videos: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the subject of each video that a row is of, and what is left over, one line each.

    A video is found by the end of a row's way.  Raises InputError if no row is of a video, or rows of one give it
    different subjects.
    """
    rows_of: dict[str, list[str]] = {}
    for video in videos:
        found = [video] if video in rows else [row for row in rows if f"/{row}".endswith(f"/{video}")]
        if found:
            rows_of[video] = found
        if len(people := sorted({rows[row] for row in found})) > 1:
            raise InputError(
                f"{_listed(found)}: rows of the table of subjects that are all of {video}, and give it the subjects "
                f"{few(people)}; keep the one that it is of"
            )
    without = [video for video in videos if video not in rows_of]
    unused = sorted(set(rows).difference(*rows_of.values()))
    if rows and not rows_of:
        raise InputError(f"no subject is of a video given (subjects of {_listed(unused)}; {_listed(videos)})")
    told = [f"{_listed(without)}: no subject in the table of subjects"] if rows and without else []
    told += [f"{_listed(unused)}: in the table of subjects, but not among the videos"] if unused else []
    return {video: rows[found[0]] for video, found in rows_of.items()}, told


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for a label to be read as another that nobody marked."""
    marked = sorted(set(known))
    for name in names:
        if name not in marked:
            raise InputError(f"label {name!r} was not marked by anybody{_nearest(name, marked)}")


def nearest_label(label: str, known: Sequence[str]) -> str | None:
    """Return the label that is probably meant: the same but for case and spacing, or spelt alike.

    Labels with other numbers are others, like AU1 and AU12.
    """
    plain = {plain_label(other): other for other in known if _digits(other) == _digits(label)}
    found = get_close_matches(plain_label(label), list(plain), n=1, cutoff=0.8)
    return plain[found[0]] if found else None


def _check_models(people: Sequence[Rater]) -> None:
    """Raises InputError for models that share no video: most likely one procedure, as labels taught for each video."""
    machines = [rater for rater in people if all(coding.machine for coding in rater.codings.values())]
    for one, two in combinations(machines, 2):
        if not one.codings.keys() & two.codings.keys():
            raise InputError(
                f"{one.name!r} and {two.name!r} made timelines of different videos ({_listed(one.codings)}; "
                f"{_listed(two.codings)}) and are taken for two coders, since the names of their models or label sets "
                "differ; to compare them as one, make the timelines again with label sets of one name, in a folder "
                "each; if the videos are the same, name the files after them"
            )


def _check_labels(people: Sequence[Rater], names: Mapping[str, str]) -> None:
    """Raises InputError for labels that would only be compared if they were written alike."""
    used = {rater.name: set(rater.labels) for rater in people}
    everything = sorted(set().union(*used.values()))
    if not everything:
        raise InputError(
            f"nobody marked anything in {_listed(people[0].codings)}; is a tier or a column missing?"
        )
    for rater in people:
        for label in sorted(used[rater.name]):
            if label in names or label in names.values():
                continue
            for other in people:
                theirs = sorted(used[other.name] - used[rater.name])
                near = nearest_label(label, theirs) if label not in used[other.name] else None
                if near:
                    raise InputError(
                        f"label {label!r} of {rater.name} is not among those of {other.name}, nearest is {near!r}; "
                        f"pass --same '{near}={label}' if they are one, --same '{label}={label}' if they are not"
                    )
    for one, two in pairwise(people):
        if used[one.name] and used[two.name] and not used[one.name] & used[two.name]:
            raise InputError(
                f"{one.name} and {two.name} have no label in common ({_listed(used[one.name])}; "
                f"{_listed(used[two.name])}); say which are the same with --same 'A=B'"
            )


def _units(
    video: str,
    people: Sequence[Rater],
    subject: str,
    anyone: bool,
    start_s: float,
    end_s: float | None,
    notes: list[str],
    unread_s: list[float],
) -> list[Unit]:
    """unread_s: by rater, to which the seconds are added that it could not read."""
    codings = [rater.of(video) for rater in people]
    lengths = [coding.duration_s for coding in codings if coding.duration_s is not None]
    if lengths and max(lengths) - min(lengths) > max(1.0, 0.02 * max(lengths)):
        raise InputError(
            f"{video}: is {min(lengths):g} s long in one coding, {max(lengths):g} s in another; "
            "are they of the same video?"
        )
    marked = max(coding.end_s for coding in codings)
    known = max((end for coding in codings for _, end in coding.coded or ()), default=0.0)
    for coding in codings:
        if lengths and coding.end_s > max(lengths) + 0.5:
            raise InputError(
                f"{coding.file}: marks go on to {coding.end_s:g} s, but {video} is {max(lengths):g} s long; "
                "is it the coding of another video?"
            )
    end = min([limit for limit in (end_s, max(lengths, default=None)) if limit is not None], default=None)
    open_s = marked if end is None and known < marked else None
    end = max(marked, known) if end is None else end
    coded = [
        tuple(minus(coding.coded if coding.coded is not None else [(0.0, end)], [(0.0, start_s), (end, 1e9)]))
        for coding in codings
    ]
    there = [at for at, rater in enumerate(people) if video in rater.codings]
    _check_overlap(video, [codings[at] for at in there], [coded[at] for at in there])
    units, unseen = [], []
    for track, marks in _faces(video, codings, anyone, notes):
        left: list[tuple[Span, ...]] = []
        for at, (coding, spans) in enumerate(zip(codings, coded, strict=True)):
            # Where faces are taken together, a coding of a single one is told by what could be read of that one.
            whose = coding.tracks[0] if track == ANYONE and len(coding.tracks) == 1 else track
            left.append(tuple(minus(spans, coding.unread.get(whose, ()))))
            unread_s[at] += sum(b - a for a, b in spans) - sum(b - a for a, b in left[at])
        if not any(intersection(one, two) for one, two in combinations(left, 2)):
            unseen.append(track)
            continue
        units.append(Unit(video, track, subject or video, tuple(map(_flat, marks)), tuple(left), open_s))
    if not units:
        raise InputError(
            f"{video}: no face could be read where another coded it; make the timeline again with other cut-offs"
        )
    if unseen:
        notes.append(f"{video}: {_listed(unseen)} could not be read where another coded it; left out")
    return units


def _check_overlap(video: str, codings: Sequence[Coding], coded: Sequence[Sequence[Span]]) -> None:
    told = "; is one shifted, or of another video?"
    for coding, spans in zip(codings, coded, strict=True):
        if not spans:
            raise InputError(f"{video}: {coding.file} has no coded time there; check --start and --end")
    for at, (one, spans) in enumerate(zip(codings, coded, strict=True)):
        for two, others in zip(codings[at + 1 :], coded[at + 1 :], strict=True):
            if not intersection(spans, others):
                raise InputError(
                    f"{video}: the codings do not overlap in time ({_hull(spans)} and {_hull(others)} were coded){told}"
                )
            # One mark each may well lie apart; several of each, all before all of the other's, do not by chance.
            if min(len(one.marks), len(two.marks)) >= 2:
                first, second = sorted((one, two), key=lambda coding: coding.marks[0].onset_s)
                if first.end_s < second.marks[0].onset_s:
                    both = f"{_hull([m[:2] for m in _pairs(first)])} and {_hull([m[:2] for m in _pairs(second)])}"
                    raise InputError(f"{video}: the codings do not overlap in time (marks at {both}){told}")


def _pairs(coding: Coding) -> list[Span]:
    return [(mark.onset_s, mark.offset_s) for mark in coding.marks]


def _hull(spans: Sequence[Span]) -> str:
    if not spans:
        return "no time"
    return f"{min(start for start, _ in spans):g} to {max(end for _, end in spans):g} s"


def _faces(
    video: str, codings: Sequence[Coding], anyone: bool, notes: list[str]
) -> list[tuple[str, list[list[Mark]]]]:
    """Pair tracks by name; a rater who does not say whose face it is is compared with all faces together."""
    names = [coding.tracks for coding in codings if coding.marks]
    several = sorted(set().union(*names)) if names else []
    untold = any(ANYONE in tracks for tracks in names)
    if anyone or untold or (all(len(tracks) == 1 for tracks in names) and _one_face(several)):
        if len(several) > 1 and not anyone and not untold:
            notes.append(f"{video}: each coding marks one face ({_listed(several)}), taken for the same")
        elif len(several) > 1 + untold and not anyone:
            notes.append(
                f"{video}: one coding does not say whose face it marks, so all faces are taken together"
            )
        return [(ANYONE, [list(coding.marks) for coding in codings])]
    if not set.intersection(*(set(tracks) for tracks in names)):
        told = "; ".join(_listed(tracks) for tracks in names)
        raise InputError(
            f"{video}: the codings have no face in common ({told}); pass --anyone to take all together"
        )
    return [
        (track, [[m for m in coding.marks if m.track == track] for coding in codings]) for track in several
    ]


def _one_face(tracks: Sequence[str]) -> bool:
    """True if all may be the same: one name at most, and one number, which a machine gives to whom it cannot name."""
    numbers = sum(bool(_NUMBER.fullmatch(track)) for track in tracks)
    return numbers <= 1 and len(tracks) - numbers <= 1


def _flat(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Marks of which those of one label do not overlap."""
    spans: dict[str, list[Span]] = {}
    for mark in marks:
        spans.setdefault(mark.label, []).append((mark.onset_s, mark.offset_s))
    return tuple(sorted(Mark(start, end, label) for label, of in spans.items() for start, end in union(of)))


def _subject(video: str, people: Sequence[Rater], subjects: Mapping[str, str]) -> str:
    return subjects.get(video) or next(
        (rater.of(video).subject for rater in people if rater.of(video).subject), ""
    )


def _note_rare(pairing: Pairing) -> None:
    for label in pairing.labels:
        users = {
            at for unit in pairing.units for at, marks in enumerate(unit.marks) if label in _labels(marks)
        }
        if len(users) == 1:
            pairing.notes.append(f"label {label!r} was marked by {pairing.raters[users.pop()]} alone")
    videos = {unit.video for unit in pairing.units}
    if len(videos) < 2:
        return
    for label in pairing.labels:
        seen = {unit.video for unit in pairing.units for marks in unit.marks if label in _labels(marks)}
        if len(seen) == 1:
            pairing.notes.append(f"label {label!r} was marked in one video only, {seen.pop()}")


def _note_folders(people: Sequence[Rater], videos: Sequence[str], notes: list[str]) -> None:
    """Videos of one name in folders of different names may be different videos."""
    apart: dict[tuple[str, ...], list[str]] = {}
    for video in videos:
        ways = dict.fromkeys(rater.of(video).way for rater in people)
        folders = dict.fromkeys(way.rpartition("/")[0] for way in ways if way)
        if len({folder.rpartition("/")[2].casefold() for folder in folders}) > 1:
            apart.setdefault(tuple(folders), []).append(video)
    for places, of in apart.items():
        notes.append(
            f"{_listed(of)}: taken for the same in {' and in '.join(places)}; if they are not, give them names of "
            "their own"
        )


def _note_frames(people: Sequence[Rater], videos: Sequence[str], notes: list[str]) -> None:
    """Whole numbers that go on for many times as long as the other's seconds are probably frames."""
    for video in videos:
        ends = {rater.name: rater.of(video).end_s for rater in people if rater.of(video).marks}
        if not ends or any(rater.of(video).duration_s for rater in people):
            continue
        last = max(ends, key=ends.__getitem__)
        marks = next(rater.of(video).marks for rater in people if rater.name == last)
        whole = all(time == int(time) for mark in marks for time in (mark.onset_s, mark.offset_s))
        if whole and ends[last] > FRAMES * min(ends.values()):
            notes.append(
                f"{video}: marks of {last} go on to {ends[last]:g}, all others' to {min(ends.values()):g} s; if those "
                "times are frames or milliseconds, write them as seconds, or pass --fps if all tables have frames"
            )


def _labels(marks: Sequence[Mark]) -> set[str]:
    return {mark.label for mark in marks}


def _nearest(label: str, known: Sequence[str]) -> str:
    near = nearest_label(label, known)
    return f"; did you mean {near!r}?" if near else f"; there are {_listed(known)}"


def plain_label(label: str) -> str:
    """Return a label without what only spelling tells apart: case, spaces, hyphens, underlines, the form of Unicode."""
    return " ".join(composed(label).casefold().replace("_", " ").replace("-", " ").split())


def _digits(label: str) -> str:
    return "".join(filter(str.isdecimal, label))


def _listed(names: Iterable[str]) -> str:
    return few(sorted(names), 5)
