"""A timeline as one self-contained HTML page: a chart per face, its strongest moments, numbers, quality notes."""

import math
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from emoclip import __version__
from emoclip.drawing import clock, page
from emoclip.errors import counted, few
from emoclip.results import LabelSummary, Peak, Segment, Timeline, Track, Window, WindowStatus
from emoclip.timeline.segments import gaps, in_picture

MAX_CHARTS = 20  # faces with a chart of their own; the others of a crowd are named in the notes
COLUMNS = ("label", "share of time", "episodes", "longest", "first after", "mean", "strongest")
STATUSES: tuple[WindowStatus, ...] = get_args(WindowStatus)  # `ok` is the first
REASONS: dict[WindowStatus, str] = {
    "no_face": "no face was found",
    "low_coverage": "the face was seen in too few frames",
    "too_small": "the face was too small",
    "turned_away": "the face was turned away",
    "too_dark": "the face was too dark",
    "blurred": "the face was too blurred",
}


def write_report(timeline: Timeline, path: Path) -> None:
    """Write the page.  Pictures are in it where the timeline's peaks have one."""
    path.write_text(report(timeline), encoding="utf-8")


def report(timeline: Timeline) -> str:
    """Return the page as HTML."""
    readable = sorted((track for track in timeline.tracks if track.read), key=lambda track: -track.read)
    charted = sorted(readable[:MAX_CHARTS], key=lambda track: track.track_id)
    return page(
        "timeline.html",
        name=Path(timeline.input).name or timeline.input,
        timeline=timeline,
        part=_part(timeline),
        settings=_settings(timeline),
        faces=[_face(timeline, track) for track in charted],
        columns=[*COLUMNS, *["mean score"] * timeline.scored],
        data=_data(timeline, charted) if charted else None,
        notes=_notes(timeline, charted),
        version=__version__,
    )


def _part(timeline: Timeline) -> str:
    """Say what of the input was read, where that is not all."""
    start_s, end_s = timeline.read_s or (0.0, math.inf)
    if start_s < 0.05 and end_s > (timeline.duration_s or 0.0) - 0.05:
        return ""
    return f" (read from {clock(start_s)} to {clock(end_s)})"


def _settings(timeline: Timeline) -> str:
    """Say that probabilities were smoothed, and which other settings were not the usual ones."""
    others = dict(timeline.settings)
    smooth_s = others.pop("segments.smooth_s", 0)
    what = "probabilities and scores" if timeline.scored else "probabilities"
    lines = [f"Smoothed: {what} are means over {smooth_s:g} s."] if smooth_s else []
    told = ", ".join(f"{name}={shown}" for name, shown in others.items())
    return " ".join([*lines, f"Settings that are not the usual ones: {told}."] if told else lines)


def _face(timeline: Timeline, track: Track) -> dict[str, Any]:
    """What the page shows of one face: its track, the strongest moments of what it reads as, its figures."""
    number = track.track_id
    peaks = {peak.label: peak for peak in timeline.peaks if peak.track_id == number}
    # A face that never reads as a label has a figure for it, but no picture to show it.
    tops = {window.top for window in timeline.windows if window.track_id == number}
    return {
        "track": track,
        "peaks": [
            peak
            for peak in sorted(peaks.values(), key=lambda peak: peak.time_s)
            if peak.picture and peak.label in tops
        ],
        "segments": [
            (segment.label, clock(segment.onset_s), clock(segment.offset_s))
            for segment in timeline.segments
            if segment.track_id == number
        ],
        "rows": _rows(
            [row for row in timeline.summary if row.track_id == number], peaks, _scores(timeline, number)
        ),
    }


def _scores(timeline: Timeline, number: int) -> dict[str, float]:
    """Label -> the mean of a face's scores over the windows that were read; empty where none were asked for."""
    read = [
        one.scores for one in timeline.windows if one.track_id == number and one.status == "ok" and one.scores
    ]
    return {label: sum(scores[label] for scores in read) / len(read) for label in timeline.labels if read}


def _rows(
    summary: list[LabelSummary], peaks: dict[str, Peak], scores: dict[str, float]
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for row in sorted(summary, key=lambda row: (-row.mean, row.label)):
        peak = peaks.get(row.label)
        rows.append(
            (
                row.label,
                f"{row.share:.0%}" if math.isfinite(row.share) else None,
                row.episodes,
                f"{row.longest_s:.1f} s" if row.episodes else None,
                f"{row.latency_s:.1f} s" if row.latency_s is not None else None,
                row.mean,
                f"{peak.prob:.2f} at {clock(peak.time_s)}" if peak else None,
                *([scores[row.label]] if scores else []),
            )
        )
    return rows


def _notes(timeline: Timeline, charted: list[Track]) -> list[str]:
    counts = Counter(window.status for window in timeline.windows)
    lines = [f"{counts['ok']} of {counted(len(timeline.windows), 'window')} could be read."]
    lines += [
        f"In {counted(counts[status], 'window')} {reason}."
        for status, reason in REASONS.items()
        if counts[status]
    ]
    scores = [window.score for window in timeline.windows if window.status == "ok"]
    if scores:
        lines.append(f"Mean detection score of the windows read: {sum(scores) / len(scores):.2f} of 1.")
    others = [track for track in timeline.tracks if track not in charted]
    if others:
        named = [f"{track.track_id} ({clock(track.start_s)} – {clock(track.end_s)})" for track in others]
        lines.append(f"Faces without a chart, seen too briefly or too poorly: {few(named, 50)}.")
    return lines + [
        f"The video, {warning}{'' if warning.endswith('?') else '.'}" for warning in timeline.warnings
    ]


def _data(timeline: Timeline, charted: list[Track]) -> dict[str, Any]:
    """What the charts draw; probabilities and scores in thousandths, which is finer than a screen."""
    rows: dict[int, list[Window]] = {track.track_id: [] for track in charted}
    segments: dict[int, list[Segment]] = {track.track_id: [] for track in charted}
    for window in timeline.windows:
        rows.get(window.track_id, []).append(window)
    for segment in timeline.segments:
        segments.get(segment.track_id, []).append(segment)
    place = {label: at for at, label in enumerate(timeline.labels)}
    untold = gaps(timeline.windows)
    seen = {track.track_id: (track.start_s, track.end_s) for track in charted}
    start_s, end_s = timeline.read_s or (math.inf, -math.inf)
    return {
        "labels": timeline.labels,
        "statuses": STATUSES,
        "start": min(start_s, *(window.start_s for window in timeline.windows)),
        "end": max(end_s, *(window.until_s for window in timeline.windows)),
        "tracks": [
            {
                "id": number,
                "start": [round(window.start_s, 3) for window in windows],
                "end": [round(window.until_s, 3) for window in windows],
                "seen": [round(time_s, 3) for time_s in in_picture(windows, seen[number])],
                "gaps": [(at, round(from_s, 3), round(to_s, 3)) for at, from_s, to_s in untold[number]],
                "status": [STATUSES.index(window.status) for window in windows],
                "probs": [
                    [_thousandths(window.probs[label]) for window in windows] for label in timeline.labels
                ],
                "scores": [
                    [_thousandths(window.scores[label]) if window.scores else None for window in windows]
                    for label in timeline.labels
                    if timeline.scored
                ],
                "quality": {
                    name: [_number(window.quality.rounded()[name]) for window in windows]
                    for name in ("size", "sharpness", "exposure", "yaw")
                },
                "segments": [
                    [place[segment.label], round(segment.onset_s, 3), round(segment.offset_s, 3)]
                    for segment in segments[number]
                ],
            }
            for number, windows in rows.items()
        ],
    }


def _thousandths(share: float) -> int | None:
    return round(share * 1000) if math.isfinite(share) else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
