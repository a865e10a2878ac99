"""`emoclip agree`: how well coders, or a coder and the machine, agree."""

from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emoclip.characters import composed
from emoclip.cli.console import fail, needs_stdout, print_table, say, stdout_console, warn
from emoclip.errors import InputError, few
from emoclip.files import check_folder
from emoclip.tables import is_missing, one_line, read_rows

if TYPE_CHECKING:
    from emoclip.codings import Coding

# What `agree` and `teach` both take.
Same = Annotated[
    list[str] | None,
    typer.Option(
        "--same", help="OTHER=LABEL: read one label as another; may be given again.", show_default=False
    ),
]
Tier = Annotated[
    list[str] | None,
    typer.Option(
        "--tier", help="ELAN tier to read (a name, or Face*); may be given again.", show_default="all"
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps", min=0.01, help="Times in tables are frames of so many a second.", show_default="seconds"
    ),
]
Gaps = Annotated[
    Literal["none", "uncoded"],
    typer.Option("--gaps", help="A moment without a label: shows none of them, or was not coded."),
]


def agree(
    codings: Annotated[
        list[Path],
        typer.Argument(
            metavar="CODING...",
            help="Codings of the same videos, or folders of them: ELAN, BORIS, BIDS events, CSV, or the results of "
            "`emoclip timeline`. One file may hold several coders.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the page, JSON, tables and methods.", show_default="none"
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", "-l", help="Labels to compare, a,b,...", show_default="all")
    ] = None,
    same: Same = None,
    tier: Tier = None,
    fps: Fps = None,
    step: Annotated[
        float, typer.Option("--step", min=0.001, max=60, help="Seconds between the moments compared.")
    ] = 0.1,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, max=3600, help="Seconds by which onsets may lie apart.")
    ] = 0.5,
    gaps: Gaps = "none",
    anyone: Annotated[bool, typer.Option("--anyone", help="Take all faces of a video together.")] = False,
    start: Annotated[float, typer.Option("--start", min=0, help="Compare from this second.")] = 0.0,
    end: Annotated[
        float | None, typer.Option("--end", min=0, help="Compare up to this second.", show_default="the end")
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            "--subjects", help="CSV of video,subject: intervals are over subjects.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier --out.")] = False,
) -> int:
    """Say how well codings agree: over time, event by event, in amounts; with intervals over videos.

    The first coding named is the reference for precision, recall and lag.
    """
    from emoclip.codings import AgreementConfig, agreement_report, measure, methods_paragraph, pair, raters

    needs_stdout(out)
    if out is not None:
        check_folder(out, force=force)
    if end is not None and end <= start:
        fail(f"--end {end:g} must be after --start {start:g}", code=2)
    settings = AgreementConfig(step_s=step, tolerance_s=tolerance, skip_gaps=gaps == "uncoded", seed=seed)
    sources, failed = read_sources(codings, tier or [], fps)
    pairing = pair(
        raters(sources),
        names=read_names(same or []),
        labels=[label.strip() for label in labels.split(",") if label.strip()] if labels else None,
        subjects=read_subjects(subjects),
        anyone=anyone,
        start_s=start,
        end_s=end,
    )
    files = [{coding.file.resolve(): coding.file for coding in found} for _, found in sources]
    if twice := {str(a[file]) for a, b in combinations(files, 2) for file in a.keys() & b.keys()}:
        warn(f"{few(sorted(twice))}: compared with {'itself' if len(twice) == 1 else 'themselves'}")
    agreement = measure(pairing, settings)
    for note in agreement.notes:
        warn(note)
    written = agreement_report.write(agreement, out, force=force) if out is not None else []
    _show(agreement)
    say(methods_paragraph(agreement))
    if out is not None:
        say(f"written: {', '.join(str(out / name) for name in written)}")
    return 1 if failed else 0


def read_sources(
    paths: list[Path], tiers: list[str], fps: float | None
) -> "tuple[list[tuple[Path, list[Coding]]], bool]":
    """Read codings, warn of files that cannot be, and say whether there was one."""
    from emoclip.codings import check_tiers, read_all

    if tiers and all(path.exists() for path in paths):
        check_tiers(paths, tiers)
    sources, failed = [], False
    for path in paths:
        found, wrong = read_all(path, tiers=tiers, fps=fps)
        sources.append((path, found))
        for line in wrong:
            warn(line)
            failed = True
    if empty := [str(coding.file) for _, found in sources for coding in found if not coding.marks]:
        warn(f"{few(empty)}: no mark in {'it' if len(empty) == 1 else 'them'}; was it coded to the end?")
    endings = {coding.file.suffix.casefold() for _, found in sources for coding in found}
    if fps and not endings & {".csv", ".tsv", ".txt", ""}:
        fail(f"--fps {fps:.10g}: no table was read, and all else has times in seconds; leave it out")
    return sources, failed


def read_names(same: list[str]) -> dict[str, str]:
    """Read OTHER=LABEL."""
    pairs = [text.partition("=") for text in same]
    for other, sign, label in pairs:
        if not (sign and other.strip() and label.strip()):
            fail(f"--same {other}{sign}{label}: write it as OTHER=LABEL", code=2)
    return {composed(other.strip()): composed(label.strip()) for other, _, label in pairs}


def read_subjects(path: Path | None) -> dict[str, str]:
    """Read video -> subject from a CSV, without rows whose subject is missing.

    A video goes by its folders and name, without its ending.
    Raises InputError for a row without a video, and for one that gives a video another subject than an earlier one.
    """
    from emoclip.codings import way_of

    if path is None:
        return {}
    rows = read_rows(path, ("video", "subject"), "it needs the columns video and subject")
    found: dict[str, tuple[str, str]] = {}
    for place, row in rows:
        if is_missing(row["subject"]):
            continue
        if is_missing(row["video"]):
            raise InputError(f"{place}: has a subject and no video; fill it in, or remove the line")
        who, video = composed(one_line(row["subject"])), PurePosixPath(*way_of(row["video"])).as_posix()
        first, there = found.setdefault(video, (who, place))
        if who != first:
            raise InputError(
                f"{place}: gives {video} the subject {who}, {there} {first}; a video has one, so correct or remove one"
            )
    if not found:
        fail(f"{path}: names no subject; fill in its columns video and subject")
    return {video: who for video, (who, _) in found.items()}


def _show(agreement) -> None:  # type: ignore[no-untyped-def]
    from rich.table import Table

    from emoclip.codings import DASH, shown_figure

    table = Table(title=" and ".join(agreement.pairing.raters), title_justify="left")
    for name in ("label", "kappa", "alpha", "agreement", "onset F1", "mean lag", "ICC(2,1)"):
        table.add_column(name, justify="left" if name == "label" else "right", overflow="fold")
    overall = [shown_figure(agreement.overall[name]) for name in ("kappa", "alpha", "agreement")]
    table.add_row("over all", *overall, "", "", "")
    for label, figures in agreement.labels.items():
        time = [shown_figure(figures[n]) if n in figures else "–" for n in ("kappa", "alpha", "agreement")]
        onsets = figures["onsets"]
        lag = "–" if onsets["lag_s"] is None else f"{onsets['lag_s']:+z.2f} s"
        icc = shown_figure(figures["seconds"]["icc2"])
        table.add_row(label, *time, shown_figure(onsets["f1"]), lag, icc)
    print_table(table)
    if any(cell == "–" for column in table.columns for cell in column.cells):
        stdout_console().print(DASH)
