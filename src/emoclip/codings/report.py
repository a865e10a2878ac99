"""An agreement as files: one page, JSON, tables, and the methods paragraph."""

import csv
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from emoclip.codings.agreement import Agreement, Disagreement
from emoclip.codings.coding import ANYONE, clock
from emoclip.codings.methods import figure
from emoclip.codings.methods import paragraph as methods
from emoclip.codings.pairing import Unit
from emoclip.drawing.charts import PALETTE
from emoclip.drawing.html import Html, bullets, escape, heading, page, paragraph, table
from emoclip.files import atomic_folder

MAX_LISTED = 300  # disagreements on the page; the table beside it has all
ROW = 14  # height of a rater's lane, in px
LABEL_COLUMNS = (
    *("label", "kappa", "kappa_low", "kappa_high", "alpha", "agreement", "onset_f1", "onset_precision"),
    *(
        "onset_recall",
        "onset_missed",
        "onset_lag_s",
        "onset_lag_sd_s",
        "offset_f1",
        "offset_lag_s",
        "icc2",
        "icc3",
    ),
    *("bland_altman_mean_s", "bland_altman_low_s", "bland_altman_high_s"),
)


def write(agreement: Agreement, folder: Path, *, force: bool = False) -> list[str]:
    """Write report.html, agreement.json, labels.csv, disagreements.csv and methods.txt.  Raises OutputError."""
    with atomic_folder(folder, force=force) as part:
        told = agreement.record() | {"methods": methods(agreement)}
        text = json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False)
        (part / "agreement.json").write_text(text + "\n", encoding="utf-8")
        (part / "methods.txt").write_text(methods(agreement) + "\n", encoding="utf-8")
        (part / "report.html").write_text(report(agreement), encoding="utf-8")
        _table(part / "labels.csv", LABEL_COLUMNS, (_label_row(*item) for item in agreement.labels.items()))
        _table(
            part / "disagreements.csv",
            ("video", "track", "start_s", "end_s", *agreement.pairing.raters),
            ((d.video, d.track, d.start_s, d.end_s, *d.said) for d in agreement.disagreements),
        )
        return sorted(file.name for file in part.iterdir())


def report(agreement: Agreement) -> str:
    """Return the page as HTML."""
    raters = agreement.pairing.raters
    record = agreement.record()
    parts: list[str] = [
        heading(f"Agreement of {' and '.join(raters)}", level=1),
        paragraph(f"{agreement.seconds:.1f} s of {len(record['videos'])} video(s).", faint=True),
        bullets(agreement.notes) if agreement.notes else "",
        heading("Over all labels"),
        table(("kappa", "alpha", "agreement"), [[figure(agreement.overall[k]) for k in _OVERALL]], words=0),
    ]
    if len(raters) > 2:
        rows = [(*pair["raters"], pair["kappa"]) for pair in agreement.overall["pairs"]]
        parts.append(table(("rater", "rater", "Cohen's kappa"), rows, words=2))
    parts += [heading("Per label"), *_label_tables(agreement), heading("What was said for what")]
    parts += [_confusion(agreement), heading("Codings under each other"), _legend(agreement.pairing.labels)]
    parts += [_strip(agreement, at, unit) for at, unit in enumerate(agreement.pairing.units)]
    parts += [heading("Disagreements"), *_disagreements(agreement)]
    parts += [heading("Methods"), paragraph(methods(agreement))]
    parts.append(paragraph("This page loads and sends nothing.", faint=True))
    assets = files("emoclip") / "assets"
    return page(
        f"Agreement of {' and '.join(raters)}",
        "\n".join(parts),
        style=(assets / "agreement.css").read_text(encoding="utf-8"),
        script=(assets / "agreement.js").read_text(encoding="utf-8"),
    )


_OVERALL = ("kappa", "alpha", "agreement")


def _label_tables(agreement: Agreement) -> list[Html]:
    raters = agreement.pairing.raters
    time, events, amounts = [], [], []
    for label, figures in agreement.labels.items():
        if "kappa" in figures:
            shares = ["–" if share is None else f"{share:.1%}" for share in figures["prevalence"].values()]
            time.append([label, *(figure(figures[name]) for name in _OVERALL), *shares])
        for kind in ("onsets", "offsets"):
            if kind in figures:
                found = figures[kind]
                scores = [figure(found[name]) for name in ("precision", "recall", "f1", "missed")]
                lag = "–" if found["lag_s"] is None else f"{found['lag_s']:+.2f} s"
                spread = "–" if found["lag_sd_s"] is None else f"{found['lag_sd_s']:.2f} s"
                events.append([label, kind, *map(str, found["events"]), *scores, lag, spread])
        seconds = figures["seconds"]
        limits = seconds.get("bland_altman")
        apart = (
            f"{limits['mean']:+.2f} ({limits['limits'][0]:.2f} to {limits['limits'][1]:.2f})"
            if limits
            else "–"
        )
        means = [f"{mean:.2f}" for mean in seconds["mean"].values()]
        amounts.append([label, figure(seconds["icc2"]), figure(seconds["icc3"]), *means, apart])
    shares_of = [f"share of {name}" for name in raters]
    reference = (
        f"{raters[0]} is the reference" if len(raters) == 2 else "the rater named first is the reference"
    )
    return [
        paragraph("Over time:"),
        table(("label", *_OVERALL, *shares_of), time),
        paragraph(f"Event by event, within {agreement.settings.tolerance_s:g} s; {reference}:"),
        table(
            (
                "label",
                "",
                "in reference",
                "in other",
                "precision",
                "recall",
                "F1",
                "missed",
                "mean lag",
                "its sd",
            ),
            events,
            words=2,
        ),
        paragraph("Seconds per video and face; differences with their 95 % limits (Bland-Altman):"),
        table(("label", "ICC(2,1)", "ICC(3,1)", *(f"mean of {n}" for n in raters), "difference"), amounts),
    ]


def _confusion(agreement: Agreement) -> Html:
    """The confusion as a shaded table: shades are shares of the row, numbers are seconds."""
    names, counts = agreement.categories, agreement.confusion
    raters = agreement.pairing.raters
    rows, columns = raters if len(raters) == 2 else ("the rater named first", "the other")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for name, row in zip(names, counts, strict=True):
        total = max(int(row.sum()), 1)
        cells = "".join(
            f'<td class="number" style="background:color-mix(in srgb, var(--link) {count / total:.0%}, transparent)">'
            f"{count * agreement.settings.step_s:.1f}</td>"
            for count in row.tolist()
        )
        body += f"<tr><th>{escape(name)}</th>{cells}</tr>\n"
    told = paragraph(
        f"Seconds; rows are what {rows} said, columns {columns}. Shade: share of the row.", faint=True
    )
    return Html(
        f'{told}<div class="wide"><table class="confusion"><tr><th></th>{head}</tr>\n{body}</table></div>'
    )


def _legend(labels: Sequence[str]) -> Html:
    shown = "".join(
        f'<span><i style="background:{_colour(at)}"></i>{escape(label)}</span>'
        for at, label in enumerate(labels)
    )
    return Html(f'<div class="legend">{shown}<button data-all>Show all time</button></div>')


def _strip(agreement: Agreement, number: int, unit: Unit) -> Html:
    """A lane per rater, an invisible unit of width per second; the script zooms by changing the viewBox."""
    labels = agreement.pairing.labels
    place = {label: at for at, label in enumerate(labels)}
    end = max(
        [end for coded in unit.coded for _, end in coded]
        + [m.offset_s for of in unit.marks for m in of]
        + [1]
    )
    lanes = []
    for lane, marks in enumerate(unit.marks):
        top = lane * (ROW + 4)
        lanes.append(f'<rect class="lane" x="0" y="{top}" width="{end:.3f}" height="{ROW}"/>')
        for mark in marks:
            if mark.label in place:
                wide = max(mark.offset_s - mark.onset_s, end / 2000)
                when = f"{clock(mark.onset_s)} to {clock(mark.offset_s)}"
                told = f"{agreement.pairing.raters[lane]}: {mark.label}, {when}"
                lanes.append(
                    f'<rect x="{mark.onset_s:.3f}" y="{top}" width="{wide:.3f}" height="{ROW}" '
                    f'fill="{_colour(place[mark.label])}"><title>{escape(told)}</title></rect>'
                )
    height = len(unit.marks) * (ROW + 4)
    names = "".join(
        f'<div style="height:{ROW + 4}px">{escape(name)}</div>' for name in agreement.pairing.raters
    )
    where = unit.video + ("" if unit.track == ANYONE else f", {unit.track}")
    return Html(
        f'<section class="strip" id="strip-{number}"><b>{escape(where)}</b> <span class="range faint"></span>'
        f'<div class="lanes"><div class="names">{names}</div><svg viewBox="0 0 {end:.3f} {height}" height="{height}" '
        f'preserveAspectRatio="none" role="img" aria-label="Codings of {escape(where)}">'
        f"{''.join(lanes)}</svg></div></section>"
    )


def _disagreements(agreement: Agreement) -> list[Html]:
    found = agreement.disagreements
    if not found:
        return [paragraph("None.")]
    place = {(unit.video, unit.track): at for at, unit in enumerate(agreement.pairing.units)}
    longest = sorted(found, key=lambda item: item.start_s - item.end_s)[:MAX_LISTED]
    rows = [
        (_jump(item, place[item.video, item.track]), f"{item.end_s - item.start_s:.1f} s", *item.said)
        for item in longest
    ]
    shown = f"The {len(rows)} longest of {len(found)}; " if len(found) > len(rows) else ""
    headings = ("where", "length", *agreement.pairing.raters)
    return [
        paragraph(f"{shown}longest first. A time shows its place in the codings above.", faint=True),
        table(headings, rows, words=len(headings)),
    ]


def _jump(item: Disagreement, strip: int) -> Html:
    where = item.video + ("" if item.track == ANYONE else f", {item.track}")
    return Html(
        f'<button data-strip="strip-{strip}" data-start="{item.start_s:.3f}" data-end="{item.end_s:.3f}">'
        f"{escape(where)} {clock(item.start_s)}</button>"
    )


def _colour(at: int) -> str:
    return PALETTE[at % len(PALETTE)]


def _label_row(label: str, figures: dict[str, Any]) -> list[object]:
    kappa = figures.get("kappa", {"value": None, "ci95": None})
    onsets, offsets, seconds = figures["onsets"], figures.get("offsets"), figures["seconds"]
    limits = seconds.get("bland_altman")
    return [
        *(label, kappa["value"], *(kappa["ci95"] or (None, None))),
        *(figures[name]["value"] if name in figures else None for name in ("alpha", "agreement")),
        *(onsets[name]["value"] for name in ("f1", "precision", "recall", "missed")),
        *(onsets["lag_s"], onsets["lag_sd_s"]),
        *((offsets["f1"]["value"], offsets["lag_s"]) if offsets else (None, None)),
        *(seconds["icc2"]["value"], seconds["icc3"]["value"]),
        *((limits["mean"], *limits["limits"]) if limits else (None, None, None)),
    ]


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
