"""A paragraph on an agreement that can be put into a paper."""

from typing import Any

from emoclip import __version__
from emoclip.codings.agreement import Agreement, comparisons, seconds_of_each
from emoclip.errors import counted

REFERENCES = {
    "kappa": "Cohen (1960, Educational and Psychological Measurement 20, 37-46)",
    "fleiss": "Fleiss (1971, Psychological Bulletin 76, 378-382)",
    "alpha": "Krippendorff (2018, Content Analysis, 4th ed.)",
    "icc": "Shrout and Fleiss (1979, Psychological Bulletin 86, 420-428)",
    "limits": "Bland and Altman (1986, The Lancet 327, 307-310)",
}

DASH = (
    "–: not defined. Kappa and alpha need time in which more than one thing was said, F1 an event inside the coded "
    "time, a lag a pair of events, ICC and differences two videos or faces (and ICC seconds that differ between them); "
    "a point event takes no time."
)


def paragraph(agreement: Agreement) -> str:
    """Return the methods and the main figures in words: settings, numbers, version, references."""
    settings, raters = agreement.settings, agreement.pairing.raters
    record = agreement.record()
    units = len(agreement.pairing.units)
    each = "video" if units == len(record["videos"]) else "face"
    two = len(raters) == 2
    name = "Cohen's kappa" if two else "Fleiss' kappa"
    drawn = record["resampled"]
    resampled = (
        f"Intervals are 95 % percentile intervals from {settings.draws} bootstrap resamples of whole {drawn}"
        f" ({agreement.groups} {drawn})."
        if agreement.groups > 1
        else f"There are no intervals, since the material is one {drawn.removesuffix('s')}."
    )
    gaps = (
        "Moments without a label were taken as not coded and left out."
        if settings.skip_gaps
        else "Moments without a label counted as a category of their own."
    )
    kappas = "; ".join(
        f"{label} {figure(figures['kappa'])}"
        for label, figures in agreement.labels.items()
        if "kappa" in figures
    )
    onsets = "; ".join(
        f"{label} {figure(figures['onsets']['f1'])}" for label, figures in agreement.labels.items()
    )
    amounts = "; ".join(
        f"{label} {figure(figures['seconds']['icc2'])}" for label, figures in agreement.labels.items()
    )
    summed = f", {of}," if (of := comparisons(agreement)) else ""
    people = ", ".join(raters[:-1]) + f" and {raters[-1]}"
    machine = " A model's labels say how an expression reads to a viewer, not what a person feels."
    parts = [
        f"Agreement of {people} was computed over {extent(agreement)} with emoclip {__version__}. "
        f"Codings were compared every {settings.step_s:g} s. {gaps}",
        f"{full[:1].upper()}{full[1:]}." if (full := seconds_of_each(agreement)) else "",
        *(f"{line[:1].upper()}{line[1:]}." for line in agreement.pairing.unread),
        f"Over all labels, {name} was {figure(agreement.overall['kappa'])}, Krippendorff's nominal alpha "
        f"{figure(agreement.overall['alpha'])}, and agreement {figure(agreement.overall['agreement'])}.",
        f"Per label, {name} was: {kappas}." if kappas else "",
        f"Onsets were paired one to one within {settings.tolerance_s:g} s; their F1{summed} was: {onsets}.",
        f"For seconds per label and {each}, ICC(2,1) was: {amounts}." if units > 1 else "",
        resampled,
        machine if agreement.pairing.machine else "",
        *(f"{line[:1].upper()}{line[1:]}." for line in agreement.pairing.taught),
        "References: " + "; ".join(_references(two, units > 1)) + ".",
    ]
    return " ".join(" ".join(part.split()) for part in parts if part)


def extent(agreement: Agreement) -> str:
    """Say of how much the figures are: seconds of all faces together, faces and videos."""
    faces, videos = len(agreement.pairing.units), len({unit.video for unit in agreement.pairing.units})
    seconds, of = f"{agreement.seconds:.1f} s", counted(videos, "video")
    return f"{seconds} of {of}" if faces == videos else f"{seconds} ({counted(faces, 'face')} of {of})"


def figure(value: dict[str, Any]) -> str:
    """Return a figure with its interval: `.83 [.71, .90]`; a dash where it is undefined."""
    if value["value"] is None:
        return "–"
    shown = short(value["value"])
    return f"{shown} [{', '.join(map(short, value['ci95']))}]" if value["ci95"] else shown


def short(value: float, shown: str = "z.2f") -> str:
    """Return a figure that cannot exceed 1, formatted as `shown` and without a 0 before the point: `.83`, `-.20`."""
    text = format(value, shown)
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _references(two: bool, several: bool) -> list[str]:
    names = ["kappa" if two else "fleiss", "alpha"] + ["icc", "limits"][: 2 if two else 1] * several
    return [REFERENCES[name] for name in names]
