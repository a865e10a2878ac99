"""A timeline as one self-contained HTML page: a chart per face, its strongest moments, numbers, quality notes."""

import math
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from emoclip import __version__
from emoclip.drawing import Html, bullets, figure, group, heading, inline_data, page, paragraph, table
from emoclip.results import LabelSummary, Peak, Segment, Timeline, Track, Window, WindowStatus

MAX_CHARTS = 20  # faces with a chart of their own; the others of a crowd are named in the notes
STATUSES: tuple[WindowStatus, ...] = get_args(WindowStatus)  # `ok` is the first
REASONS: dict[WindowStatus, str] = {
    "no_face": "no face was found",
    "low_coverage": "the face was seen in too few frames",
    "too_small": "the face was too small",
    "turned_away": "the face was turned away",
    "too_dark": "the face was too dark",
    "blurred": "the face was too blurred",
}

_TOOLS = Html(
    '<div class="tools"><div class="legend" role="group" aria-label="Labels shown"></div>'
    '<button data-action="in" aria-label="Zoom in">+</button>'
    '<button data-action="out" aria-label="Zoom out">−</button>'
    '<button data-action="back" aria-label="Earlier">◀</button>'
    '<button data-action="on" aria-label="Later">▶</button>'
    '<button data-action="all">All</button><span class="range"></span></div>'
)


def write_report(timeline: Timeline, path: Path) -> None:
    """Write the page.  Pictures are in it where the timeline's peaks have one."""
    path.write_text(report(timeline), encoding="utf-8")


def report(timeline: Timeline) -> str:
    """Return the page as HTML."""
    readable = sorted((track for track in timeline.tracks if track.read), key=lambda track: -track.read)
    charted = sorted(readable[:MAX_CHARTS], key=lambda track: track.track_id)
    name = Path(timeline.input).name or timeline.input
    lasts = f"{_clock(timeline.duration_s)} long, " if timeline.duration_s is not None else ""
    people = f"{len(timeline.tracks)} face{'s' if len(timeline.tracks) != 1 else ''} followed"
    parts: list[str] = [
        heading(name, level=1),
        paragraph(f"{lasts}{people}, model {timeline.model}.", faint=True),
        paragraph("How each face reads to a viewer, not what the person feels.", faint=True),
    ]
    if charted:
        parts += [_TOOLS, *(_face(timeline, track) for track in charted), _hints(), _data(timeline, charted)]
    else:
        parts.append(paragraph("No face could be read in this video; the notes say why."))
    parts += [heading("Quality notes"), bullets(_notes(timeline, charted))]
    parts.append(paragraph(f"emoclip {__version__}. This page loads and sends nothing.", faint=True))
    assets = files("emoclip") / "assets"
    return page(
        f"{name}: expressions over time",
        "\n".join(parts),
        style=(assets / "report.css").read_text(encoding="utf-8"),
        script=(assets / "report.js").read_text(encoding="utf-8") if charted else "",
    )


def _hints() -> Html:
    return paragraph(
        "Drag over a chart or pinch to zoom, double-click for all of it; Ctrl and the wheel zoom too. Zoomed out, the "
        "lines are means of several windows. The arrow keys step through the windows. The bar below the lines names "
        "what the face reads as; hatched: not readable. The thin lines below say how well the face is seen, darker is "
        "better: its size, sharpness, light, and how far it faces the camera.",
        faint=True,
    )


def _face(timeline: Timeline, track: Track) -> str:
    number = track.track_id
    summary = [row for row in timeline.summary if row.track_id == number]
    peaks = {peak.label: peak for peak in timeline.peaks if peak.track_id == number}
    span = f"{_clock(track.start_s)} – {_clock(track.end_s)}, {track.read / track.windows:.0%} of it readable"
    described = f"Probability of each label over time for face {number}; the table below has the figures"
    return (
        f'<section>{heading(f"Face {number}")}<p class="faint">{span}</p>'
        f'<div class="chart" id="chart-{number}"><canvas tabindex="0" role="img" aria-label="{described}"></canvas>'
        f'<div class="tip" hidden></div></div>{_pictures(number, peaks)}{_table(summary, peaks)}</section>'
    )


def _pictures(track_id: int, peaks: dict[str, Peak]) -> str:
    shown = [peak for peak in sorted(peaks.values(), key=lambda peak: peak.time_s) if peak.picture]
    if not shown:
        return ""
    buttons = [
        f'<button data-time="{peak.time_s:.3f}" data-chart="chart-{track_id}" '
        f'aria-label="Show {_clock(peak.time_s)} in the chart">{_picture(peak)}</button>'
        for peak in shown
    ]
    return group("thumbs", buttons)


def _picture(peak: Peak) -> Html:
    when = _clock(peak.time_s)
    caption = f"{peak.label}: {peak.prob:.2f} at {when}"
    return figure(peak.picture or b"", f"Face {peak.track_id} at {when}", caption, kind="jpeg")


def _table(summary: list[LabelSummary], peaks: dict[str, Peak]) -> Html:
    headings = ("label", "share of time", "episodes", "longest", "first after", "mean", "strongest")
    rows = []
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
                f"{peak.prob:.2f} at {_clock(peak.time_s)}" if peak else None,
            )
        )
    return table(headings, rows)


def _notes(timeline: Timeline, charted: list[Track]) -> list[str]:
    counts = Counter(window.status for window in timeline.windows)
    lines = [f"{counts['ok']} of {len(timeline.windows)} windows could be read."]
    lines += [
        f"In {counts[status]} windows {reason}." for status, reason in REASONS.items() if counts[status]
    ]
    scores = [window.score for window in timeline.windows if window.status == "ok"]
    if scores:
        lines.append(f"Mean detection score of the windows read: {sum(scores) / len(scores):.2f} of 1.")
    others = [track for track in timeline.tracks if track not in charted]
    if others:
        named = [
            f"{track.track_id} ({_clock(track.start_s)} – {_clock(track.end_s)})" for track in others[:50]
        ]
        more = f" and {len(others) - 50} more" if len(others) > 50 else ""
        lines.append(f"Faces without a chart, seen too briefly or too poorly: {', '.join(named)}{more}.")
    return lines + [f"The video, {warning}." for warning in timeline.warnings]


def _data(timeline: Timeline, charted: list[Track]) -> str:
    """What the charts draw, as JSON in the page; probabilities in thousandths, which is finer than a screen."""
    rows: dict[int, list[Window]] = {track.track_id: [] for track in charted}
    segments: dict[int, list[Segment]] = {track.track_id: [] for track in charted}
    for window in timeline.windows:
        rows.get(window.track_id, []).append(window)
    for segment in timeline.segments:
        segments.get(segment.track_id, []).append(segment)
    place = {label: at for at, label in enumerate(timeline.labels)}
    data: dict[str, Any] = {
        "labels": timeline.labels,
        "statuses": STATUSES,
        "start": min(window.start_s for window in timeline.windows),
        "end": max(window.end_s for window in timeline.windows),
        "tracks": [
            {
                "id": number,
                "start": [round(window.start_s, 3) for window in windows],
                "end": [round(window.end_s, 3) for window in windows],
                "status": [STATUSES.index(window.status) for window in windows],
                "probs": [
                    [_thousandths(window.probs[label]) for window in windows] for label in timeline.labels
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
    return inline_data("timeline", data)


def _thousandths(share: float) -> int | None:
    return round(share * 1000) if math.isfinite(share) else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
