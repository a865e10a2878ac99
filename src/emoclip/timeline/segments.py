"""Windows of a track -> smoothed windows, segments with onset, offset and peak, and what they amount to."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoclip.config import SegmentConfig
from emoclip.results import NO_TRACK, LabelSummary, Peak, Segment, Track, Window
from emoclip.timeline.spans import Span, minus

UNKNOWN: Mapping[int, Span] = MappingProxyType({})  # when faces were seen


class Kept(NamedTuple):
    """A picture that was kept of a window: its centre in seconds, a label's probability there, and JPEG bytes."""

    centre_s: float
    prob: float
    picture: bytes | None


def smooth(windows: Sequence[Window], width_s: float) -> list[Window]:
    """Replace probabilities by their mean over the track's readable windows centred within `width_s` / 2 seconds.

    So are scores, where there are any.  Centred, so that nothing is delayed; unreadable windows stay unreadable and
    do not count.
    """
    smoothed = list(windows)
    for places in _by_track(windows).values():
        read = [place for place in places if windows[place].status == "ok"]
        if not read or width_s <= 0:
            continue
        labels = list(windows[read[0]].probs)
        centres = np.array([windows[place].centre_s for place in read])
        values = [[*windows[place].probs.values(), *(windows[place].scores or {}).values()] for place in read]
        sums = np.cumsum([[0.0] * len(values[0]), *values], axis=0)
        first = np.searchsorted(centres, centres - width_s / 2 - 1e-6)
        after = np.searchsorted(centres, centres + width_s / 2 + 1e-6)
        means = (sums[after] - sums[first]) / (after - first)[:, None]
        for place, mean in zip(read, means, strict=True):
            probs = dict(zip(labels, mean[: len(labels)].tolist(), strict=True))
            scores = (
                dict(zip(labels, mean[len(labels) :].tolist(), strict=True))
                if windows[place].scores
                else None
            )
            top = max(probs, key=probs.__getitem__)
            smoothed[place] = replace(windows[place], probs=probs, top=top, scores=scores)
    return smoothed


def find_segments(
    windows: Sequence[Window],
    labels: Sequence[str],
    config: SegmentConfig,
    seen: Mapping[int, Span] = UNKNOWN,
) -> list[Segment]:
    """Return each track's stretches of one label, by hysteresis, in order of track and time.

    With chance = 1 / number of labels: there is a segment where the top label has at least `enter` x chance.  It goes
    on while its label has at least `leave` x chance and no other leads it by the difference of the two, and it began
    with the windows right before that had its label on top with as much.  An unreadable stretch longer than
    `bridge_s` ends it.
    A window speaks for the time around its centre, halfway to its neighbours, so segments meet without overlap; at a
    gap in its track, for its own frames and at least half a usual step.  None speaks for time before its face is first
    seen or after, and a segment of such time alone is dropped.
    seen: when each track's face was first and last seen, in seconds; where it is not known, its windows' times stand.
    Source: the two thresholds of Canny, A Computational Approach to Edge Detection (1986).
    """
    chance = 1 / len(labels)
    enter = min(config.enter * chance, (1 + chance) / 2)
    leave = min(config.leave * chance, enter)
    found: list[Segment] = []
    for track_id, rows, spans in _tracks(windows, seen):
        of = [
            _segment(track_id, label, members, rows, spans, seen)
            for label, members in _runs(rows, spans, enter, leave, config.bridge_s)
        ]
        # A picture takes no time, and neither do its segments.
        some = 0.0 if spans[0][0] == spans[-1][1] else 1e-6
        found += [segment for segment in of if segment.duration_s >= max(config.min_s, some)]
    return found


def _runs(
    rows: Sequence[Window], spans: Sequence[Span], enter: float, leave: float, bridge_s: float
) -> list[tuple[str, list[int]]]:
    """Labels and rows of a track's segments; thresholds are probabilities."""
    runs: list[tuple[str, list[int]]] = []
    read = [at for at, row in enumerate(rows) if row.status == "ok"]
    # Whether so long a stretch before it could not be read.
    away = [True] + [spans[at][0] - spans[before][1] > bridge_s + 1e-6 for before, at in pairwise(read)]
    going = False
    for place, at in enumerate(read):
        row = rows[at]
        if going:
            label, members = runs[-1]
            overtaken = row.top != label and row.probs[row.top] - row.probs[label] >= enter - leave
            going = not (away[place] or overtaken or row.probs[label] < leave)
            if going:
                members.append(at)
        if not going and row.probs[row.top] >= enter:
            first = place
            while not away[first] and _led(rows[read[first - 1]], row.top, leave):
                first -= 1
            if runs:  # where it led already, the segment before had ended
                runs[-1] = runs[-1][0], [member for member in runs[-1][1] if member < read[first]]
            runs.append((row.top, read[first : place + 1]))
            going = True
    return runs


def _led(row: Window, label: str, least: float) -> bool:
    return row.top == label and row.probs[label] >= least


def find_unread(
    windows: Sequence[Window], segments: Sequence[Segment], seen: Mapping[int, Span] = UNKNOWN
) -> dict[int, list[Span]]:
    """Return the time of which nothing is said of each track whose face is in the picture, as it cannot be read.

    What a segment bridges is said to be of its label.  Under NO_TRACK is the time in which nobody in the picture can be
    read.  seen: as in `find_segments`.
    """
    found: dict[int, list[Span]] = {}
    told: list[Span] = [(segment.onset_s, segment.offset_s) for segment in segments]
    for track_id, rows, spans in _tracks(windows, seen):
        mine = [(segment.onset_s, segment.offset_s) for segment in segments if segment.track_id == track_id]
        each = list(zip(rows, spans, strict=True))
        unread = minus(
            (span for row, span in each if row.status not in ("ok", "no_face") and span[1] > span[0]), mine
        )
        found |= {track_id: unread} if unread else {}
        told += [span for row, span in each if row.status == "ok"]
    nobody = minus((span for unread in found.values() for span in unread), told)
    return found | ({NO_TRACK: nobody} if nobody else {})


def summarise(
    windows: Sequence[Window],
    segments: Sequence[Segment],
    labels: Sequence[str],
    seen: Mapping[int, Span] = UNKNOWN,
) -> tuple[list[Track], list[LabelSummary]]:
    """Return one Track per track, and one LabelSummary per track and label; windows without a track count nowhere.

    seen: when each track's face was first and last seen, in seconds; where it is not known, its windows' times stand.
    """
    tracks: list[Track] = []
    summary: list[LabelSummary] = []
    for track_id, rows, spans in _tracks(windows, seen):
        readable = [(row, span) for row, span in zip(rows, spans, strict=True) if row.status == "ok"]
        begin_s = readable[0][1][0] if readable else math.nan  # one who comes in later is not slower
        first_s, last_s = seen.get(track_id, (rows[0].start_s, rows[-1].end_s))
        track = Track(
            track_id=track_id,
            start_s=first_s,
            end_s=last_s,
            windows=len(rows),
            read=len(readable),
            coverage=sum(row.coverage for row in rows) / len(rows),
            statuses=dict(Counter(row.status for row in rows)),
        )
        tracks.append(track)
        mine = [segment for segment in segments if segment.track_id == track_id]
        summary += [_label_summary(track_id, label, begin_s, readable, mine) for label in labels]
    return tracks, summary


def _label_summary(
    track_id: int,
    label: str,
    begin_s: float,
    read: list[tuple[Window, Span]],
    segments: Iterable[Segment],
) -> LabelSummary:
    episodes = [segment for segment in segments if segment.label == label]
    lasts = [end_s - start_s for _, (start_s, end_s) in read]
    if not any(lasts):  # a single picture
        lasts = [1.0] * len(read)
    readable_s = sum(lasts)
    # Bridged stretches inside a segment are nobody's time, so readable windows are counted, not seconds of segments.
    starts = np.array([segment.onset_s for segment in episodes])
    ends = np.array([segment.offset_s for segment in episodes])
    shown_s = 0.0
    for (_, span), span_s in zip(read, lasts, strict=True):
        at = int(np.searchsorted(starts, sum(span) / 2, side="right")) - 1
        shown_s += span_s if at >= 0 and sum(span) / 2 <= ends[at] else 0.0
    return LabelSummary(
        track_id=track_id,
        label=label,
        share=shown_s / readable_s if readable_s else math.nan,
        episodes=len(episodes),
        longest_s=max((segment.duration_s for segment in episodes), default=0.0),
        latency_s=episodes[0].onset_s - begin_s if episodes else None,
        mean=sum(row.probs[label] for row, _ in read) / len(read) if read else math.nan,
    )


def find_peaks(
    windows: Sequence[Window],
    labels: Sequence[str],
    pictures: Mapping[tuple[int, str], Kept],
    smooth_s: float = 0.0,
    seen: Mapping[int, Span] = UNKNOWN,
) -> list[Peak]:
    """Return where each track reads most strongly as each label, the first such window, by track and label.

    pictures: by track and label.  A peak has the one of its own window; of windows that were smoothed over `smooth_s`
    seconds, the one nearest to it in time of those that its mean is of, as those of all windows are not kept.
    seen: as in `find_segments`.
    """
    shots: dict[int, dict[float, bytes | None]] = {}
    for (track_id, _), kept in pictures.items():
        shots.setdefault(track_id, {})[kept.centre_s] = kept.picture
    peaks: list[Peak] = []
    for track_id, places in sorted(_by_track(windows).items()):
        read = [windows[place] for place in places if windows[place].status == "ok"]
        of = shots.get(track_id, {})
        for label in sorted(labels) if read else ():
            best = max(read, key=lambda window: window.probs[label])
            time_s = best.centre_s
            nearest = min(of, key=lambda at: abs(at - time_s), default=math.inf)
            shown = of[nearest] if abs(nearest - time_s) <= smooth_s / 2 + 1e-6 else None
            peaks.append(Peak(track_id, label, _moment(best, seen), best.probs[label], shown))
    return peaks


def gaps(windows: Sequence[Window]) -> dict[int, list[tuple[int, float, float]]]:
    """Return the time that none of a track's windows speaks for: before which window, from when to when.

    Windows are counted within their track, in order of time; times are in seconds.
    """
    return {
        track_id: [
            (at, before[1], after[0])
            for at, (before, after) in enumerate(pairwise(spans), 1)
            if after[0] > before[1]
        ]
        for track_id, _, spans in _tracks(windows, UNKNOWN)
    }


def in_picture(rows: Sequence[Window], seen: Span) -> Span:
    """Return from when to when a face is in the picture: from its first frame to the end of its last.

    rows: its windows, in order of time.  seen: when it was first and last seen, in seconds.
    """
    first_s, last_s = seen
    return first_s, next((last_s + row.frame_s for row in rows if row.end_s >= last_s), rows[-1].until_s)


def _by_track(windows: Sequence[Window]) -> dict[int, list[int]]:
    """Places of each track's windows, in order of time."""
    order = sorted(
        (place for place, window in enumerate(windows) if window.track_id != NO_TRACK),
        key=lambda place: windows[place].track_id,
    )
    return {
        track_id: list(places) for track_id, places in groupby(order, lambda place: windows[place].track_id)
    }


def _tracks(
    windows: Sequence[Window], seen: Mapping[int, Span]
) -> Iterator[tuple[int, list[Window], list[Span]]]:
    """Each track's windows in order of time, and the time that each speaks for: none before it is seen, or after."""
    grid = np.unique([window.centre_s for window in windows])
    for track_id, places in sorted(_by_track(windows).items()):
        rows = [windows[place] for place in places]
        spans = _spans(rows, grid)
        if track_id in seen:
            inside = np.clip(spans, *in_picture(rows, seen[track_id]))
            spans = [(start_s, end_s) for start_s, end_s in inside.tolist()]
        yield track_id, rows, spans


def _spans(rows: Sequence[Window], grid: NDArray[np.float64]) -> list[Span]:
    """The time each window speaks for.  grid: the centres of everybody's windows, each once, in order."""
    step_s = float(np.median(np.diff(grid))) if len(grid) > 1 else 0.0
    place = np.searchsorted(grid, [row.centre_s for row in rows])
    starts, ends = [rows[0].start_s], []
    for at, (left, right) in enumerate(pairwise(rows)):
        end_s = start_s = (left.centre_s + right.centre_s) / 2
        # Few frames a second move the centres of windows in a row by one step or by two.
        if place[at + 1] - place[at] > 1 or right.centre_s - left.centre_s > 2 * step_s + 1e-6:
            end_s = min(end_s, max(left.until_s, left.centre_s + step_s / 2))
            start_s = max(start_s, min(right.start_s, right.centre_s - step_s / 2))
        ends.append(end_s)
        starts.append(start_s)
    return list(zip(starts, [*ends, rows[-1].until_s], strict=True))


def _segment(
    track_id: int,
    label: str,
    members: Sequence[int],
    rows: Sequence[Window],
    spans: Sequence[Span],
    seen: Mapping[int, Span],
) -> Segment:
    onset_s, offset_s = spans[members[0]][0], spans[members[-1]][1]
    peak = max((rows[at] for at in members), key=lambda row: row.probs[label])
    return Segment(
        track_id=track_id,
        label=label,
        onset_s=onset_s,
        offset_s=offset_s,
        peak_s=max(onset_s, _moment(peak, seen)),
        peak=peak.probs[label],
        mean=sum(rows[at].probs[label] for at in members) / len(members),
    )


def _moment(row: Window, seen: Mapping[int, Span]) -> float:
    """The centre of a window, or the nearest frame that shows its face, in seconds."""
    first_s, last_s = seen.get(row.track_id, (row.start_s, row.end_s))
    return max(first_s, row.centre_s if row.centre_s < last_s + row.frame_s else last_s)
