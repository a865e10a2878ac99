"""An agreement as files: one page, JSON, tables, and the methods paragraph."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emoclip.codings.agreement import Agreement, comparisons
from emoclip.codings.coding import ANYONE, Mark
from emoclip.codings.methods import DASH, extent, figure
from emoclip.codings.methods import paragraph as methods
from emoclip.codings.pairing import Unit
from emoclip.drawing import PALETTE, clock, page
from emoclip.files import atomic_folder, json_text

MAX_LISTED = 300  # disagreements on the page; the table beside it has all
# Of the codings on the page, in px: a rater's lane, a layer of one that has several, and what is free below either.
LANE, LAYER, BELOW_LANE, BELOW_LAYER = 14, 7, 4, 2
OVERALL = ("kappa", "alpha", "agreement")
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
        (part / "agreement.json").write_text(json_text(told), encoding="utf-8")
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
    pairing = agreement.pairing
    labels = _labels(agreement)
    return page(
        "agreement.html",
        raters=list(pairing.raters),
        extent=extent(agreement),
        notes=agreement.notes,
        overall_names=list(OVERALL),
        overall=[figure(agreement.overall[name]) for name in OVERALL],
        pairs=[
            (*pair["raters"], figure({"value": pair["kappa"], "ci95": None}))
            for pair in agreement.overall.get("pairs", ())
        ],
        tolerance=f"{agreement.settings.tolerance_s:g}",
        shares_of=[f"share of {name}" for name in pairing.raters],
        means_of=[f"mean of {name}" for name in pairing.raters],
        comparisons=comparisons(agreement),
        labels=labels,
        dash=DASH if any("–" in row for rows in labels.values() for row in rows) else "",
        confusion=_confusion(agreement),
        legend=[(label, _colour(at), at >= len(PALETTE)) for at, label in enumerate(pairing.labels)],
        strips=[_strip(agreement, unit) for unit in pairing.units],
        below_px=BELOW_LANE,
        disagreements=_disagreements(agreement),
        all_disagreements=len(agreement.disagreements),
        methods=methods(agreement),
    )


def _labels(agreement: Agreement) -> dict[str, list[list[str]]]:
    """The rows of the tables per label."""
    time, events, amounts = [], [], []
    for label, figures in agreement.labels.items():
        if "kappa" in figures:
            shares = ["–" if share is None else f"{share:.1%}" for share in figures["prevalence"].values()]
            time.append([label, *(figure(figures[name]) for name in OVERALL), *shares])
        for kind in ("onsets", "offsets"):
            if kind in figures:
                found = figures[kind]
                scores = [figure(found[name]) for name in ("precision", "recall", "f1", "missed")]
                lag = "–" if found["lag_s"] is None else f"{found['lag_s']:+z.2f} s"
                spread = "–" if found["lag_sd_s"] is None else f"{found['lag_sd_s']:.2f} s"
                events.append([label, kind, *map(str, found["events"]), *scores, lag, spread])
        seconds = figures["seconds"]
        limits = seconds.get("bland_altman")
        apart = (
            f"{limits['mean']:+z.2f} ({limits['limits'][0]:z.2f} to {limits['limits'][1]:z.2f})"
            if limits
            else "–"
        )
        means = ["–" if mean is None else f"{mean:.2f}" for mean in seconds["mean"].values()]
        amounts.append([label, figure(seconds["icc2"]), figure(seconds["icc3"]), *means, apart])
    return {"time": time, "events": events, "amounts": amounts}


def _confusion(agreement: Agreement) -> list[dict[str, Any]]:
    """Seconds, and shares of the row, which shade them."""
    rows = []
    for name, row in zip(agreement.categories, agreement.confusion, strict=True):
        total = max(int(row.sum()), 1)
        cells = [
            {"share": f"{count / total:.0%}", "seconds": f"{count * agreement.settings.step_s:.1f}"}
            for count in row.tolist()
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def _strip(agreement: Agreement, unit: Unit) -> dict[str, Any]:
    """A lane for each rater, with the marks in seconds: in layers where they overlap, points last, on top of all."""
    place = {label: at for at, label in enumerate(agreement.pairing.labels)}
    end = max(
        [end for coded in unit.coded for _, end in coded]
        + [m.offset_s for of in unit.marks for m in of]
        + [1]
    )
    lanes: list[dict[str, Any]] = []
    top = 0
    for rater, marks in zip(agreement.pairing.raters, unit.marks, strict=True):
        shown = [mark for mark in marks if mark.label in place]
        lasting = _layers(mark for mark in shown if mark.offset_s > mark.onset_s)
        points = _layers(mark for mark in shown if mark.offset_s == mark.onset_s)
        most = max(len(lasting), len(points))
        height = max(LANE, most * (LAYER + BELOW_LAYER) - BELOW_LAYER)
        drawn = [
            {
                "point": layers is points,
                "x": f"{mark.onset_s:.3f}",
                "y": f"{top + at * (height + BELOW_LAYER) / len(layers):g}",
                "width": f"{mark.offset_s - mark.onset_s:.3f}",
                "height": f"{(height + BELOW_LAYER) / len(layers) - BELOW_LAYER:g}",
                "colour": _colour(place[mark.label]),
                "again": place[mark.label] >= len(PALETTE),
                "said": f"{rater}: {mark.label}, {_when(mark)}",
            }
            for layers in (lasting, points)
            for at, layer in enumerate(layers)
            for mark in layer
        ]
        lanes.append({"rater": rater, "top": top, "height": height, "marks": drawn})
        top += height + BELOW_LANE
    return {"where": _where(unit.video, unit.track), "end": f"{end:.3f}", "lanes": lanes, "height": top}


def _layers(marks: Iterable[Mark]) -> list[list[Mark]]:
    """Share marks among as few layers as can be, so that none lies on another of its layer."""
    layers: list[list[Mark]] = []
    for mark in sorted(marks):
        free = (of for of in layers if of[-1].offset_s <= mark.onset_s and of[-1].onset_s < mark.onset_s)
        layer = next(free, None)
        if layer is None:
            layers.append([mark])
        else:
            layer.append(mark)
    return layers


def _when(mark: Mark) -> str:
    end = "" if mark.offset_s == mark.onset_s else f" to {clock(mark.offset_s)}"
    return clock(mark.onset_s) + end


def _disagreements(agreement: Agreement) -> list[dict[str, Any]]:
    """The longest, each with its place among the strips."""
    place = {(unit.video, unit.track): at for at, unit in enumerate(agreement.pairing.units)}
    longest = sorted(agreement.disagreements, key=lambda item: item.start_s - item.end_s)[:MAX_LISTED]
    return [
        {
            "strip": place[item.video, item.track],
            "start": f"{item.start_s:.3f}",
            "end": f"{item.end_s:.3f}",
            "where": f"{_where(item.video, item.track)} {clock(item.start_s)}",
            "length": f"{item.end_s - item.start_s:.1f} s",
            "said": item.said,
            "told": ", ".join(
                f"{rater}: {said}" for rater, said in zip(agreement.pairing.raters, item.said, strict=True)
            ),
        }
        for item in longest
    ]


def _where(video: str, track: str) -> str:
    return video + ("" if track == ANYONE else f", {track}")


def _colour(at: int) -> str:
    """A label's colour as CSS: paler from the second time round the palette; black is the ink of the page."""
    again, place = divmod(at, len(PALETTE))
    colour = "var(--ink)" if PALETTE[place] == "#000000" else PALETTE[place]
    return f"color-mix(in srgb, {colour} 45%, var(--paper))" if again else colour


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
