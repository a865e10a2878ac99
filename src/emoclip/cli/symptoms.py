"""`emoclip symptoms`: severity ratings from interviews; a research estimate, not a diagnosis."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclip.cli.console import emit, fail, needs_stdout, print_table, progress_bars, say, table, warn
from emoclip.cli.options import DETECTOR, AskedFps, Detector, Model, Threads, names_in
from emoclip.config import FPS
from emoclip.files import check_apart, check_folder, check_room, json_text

if TYPE_CHECKING:
    from emoclip.config import FaceMode
    from emoclip.model import Package
    from emoclip.symptoms import Estimate, Estimator, Study

app = typer.Typer(
    help="Estimate clinical ratings from interviews. A research estimate, not a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

FACES = typer.Option(
    "--faces",
    help="largest: the most prominent person; full: the frames are face crops already.",
    show_default="largest",
)
Force = Annotated[bool, typer.Option("--force", help="Replace existing outputs.")]


@app.command()
def fit(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV file: path,subject[,session][,age] and the scores, a line per video or folder of clips.",
            show_default=False,
        ),
    ],
    targets: Annotated[
        list[str],
        typer.Option("--targets", "-t", help="Columns of scores, separated by commas.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)],
    group: Annotated[
        str, typer.Option("--group", help="The column that says whose video it is.")
    ] = "subject",
    estimator: Annotated[
        Literal["probe", "paper", "both"],
        typer.Option(
            "--estimator",
            help="probe: regression on pooled embeddings; paper: temporal transformer and MLP, trained (needs torch).",
        ),
    ] = "probe",
    model: Model = "mini",
    folds: Annotated[
        str | None,
        typer.Option(
            "--folds",
            help="Folds by subject, or loso: leave one subject out.",
            show_default="5, or the manifest's own",
        ),
    ] = None,
    permutations: Annotated[
        int | None,
        typer.Option(
            "--permutations",
            min=19,
            help="Refits of the probe for its permutation test.",
            show_default="199",
        ),
    ] = None,
    paper_permutations: Annotated[
        int | None,
        typer.Option(
            "--paper-permutations",
            min=0,
            help="Refits of the paper's estimator, each as long as its validation; 0: tested fold by fold.",
            show_default="19 up to 2,000 clips, else 0",
        ),
    ] = None,
    scales: Annotated[
        Path | None,
        typer.Option("--scales", help="A YAML file of scales of your own.", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder for embeddings of the videos.", show_default="OUT.cache"),
    ] = None,
    faces: Annotated[Literal["largest", "full"] | None, FACES] = None,
    fps: AskedFps = None,
    detector: Detector = DETECTOR,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of folds, training and resampling.")
    ] = 0,
    force: Force = False,
    threads: Threads = None,
) -> None:
    """Fit and validate severity on a cohort: figures out of fold by subject, a report, a package that scores.

    Videos are watched once and kept as embeddings. A research estimate, not a diagnosis.
    """
    from emoclip.config import FaceConfig
    from emoclip.engine import EmoCLIP
    from emoclip.faces import settled
    from emoclip.symptoms import InterviewStore, ValidationConfig, check_installed, frames_note, read_manifest
    from emoclip.symptoms import fit as symptoms
    from emoclip.symptoms import report as symptom_report
    from emoclip.symptoms import scales as clinical

    names = names_in(targets, "--targets")
    check_folder(out, force=force)
    kept = cache or out.with_name(f"{out.name}.cache")
    check_apart(out, kept)
    check_room(kept)
    if 0 < (paper_permutations or 0) < 19:
        fail(f"--paper-permutations {paper_permutations}: must be 0, or at least 19 for a p of 0.05", code=2)
    for option, given, kind in (
        ("--permutations", permutations, "probe"),
        ("--paper-permutations", paper_permutations, "paper"),
    ):
        if given is not None and estimator not in (kind, "both"):
            fail(
                f"{option} {given}: cannot act with --estimator {estimator}; leave it out, or pass --estimator both",
                code=2,
            )
    settings = ValidationConfig(folds=_folds(folds or "5"), seed=seed)
    check_installed()
    cohort = read_manifest(manifest, names, clinical.scales(scales), group=group)
    if folds and any(item.fold for item in cohort.interviews):
        fail(
            f"--folds {folds}: cannot act, as {manifest} has folds of its own; leave it out, or empty the column fold",
            code=2,
        )
    symptoms.check(cohort, settings)
    sources = [source for item in cohort.interviews for source in item.sources]
    if fps is None:
        for line in frames_note(sources, FPS):
            warn(line)
    loaded = EmoCLIP.load(model, threads=threads)
    estimators = _estimators(
        estimator, loaded.package, seed, (permutations or 199, paper_permutations), threads
    )
    symptom_report.check(out, force=force)
    looked, notes = settled(FaceConfig(mode=faces or "largest", detector=detector))
    cohort.notes += notes + _idle(sources, faces, fps, detector)
    store = InterviewStore(kept, loaded, looked, fps or FPS)
    with progress_bars() as bars:
        task = bars.add_task("watching", total=len(cohort.interviews))

        def watched(done: int, seconds: float) -> None:
            name = cohort.interviews[min(done, len(cohort.interviews) - 1)].name
            bars.update(task, completed=done, description=f"watching {name} {seconds:.0f} s")

        usable, recordings = symptoms.watch(cohort, store, watched)
        bars.update(task, total=1.0)

        def fitted(what: str, share: float) -> None:
            bars.update(task, completed=share, description=what)

        study = symptoms.fit(loaded, usable, recordings, estimators, settings, fitted)
        written = symptom_report.write(study, out, estimators, force=force, progress=fitted)
    _print_study(study)
    for item in study.cohort.excluded:
        warn(f"left out: subject {item.subject}, {item.path}: {item.reason}")
    for line in symptom_report.warnings(study):
        warn(line)
    say(f"written: {out}/{', '.join(written)}")


@app.command()
def score(
    package: Annotated[str, typer.Argument(help="A package that `symptoms fit` made.", show_default=False)],
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...", help="Interviews: each a video, or a folder of its parts.", show_default=False
        ),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the results as JSON; - for stdout.", show_default=False),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=0, help="Clips to list that moved a score most.")] = 3,
    faces: Annotated[
        Literal["largest", "full"] | None,
        typer.Option("--faces", help="As of `fit`.", show_default="as the study's"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.01,
            help="Frames per second of a folder of pictures.",
            show_default="as the study's",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("--detector", help="auto, yunet or haar.", show_default="as the study's"),
    ] = None,
    force: Force = False,
    threads: Threads = None,
) -> int:
    """Estimate ratings of new interviews, with intervals, and say how they are unlike the study's.

    A research estimate, not a diagnosis.
    """
    from dataclasses import replace

    from emoclip.config import FaceConfig
    from emoclip.engine import EmoCLIP
    from emoclip.errors import InputError
    from emoclip.faces import settled
    from emoclip.files import check_writable, write_text
    from emoclip.symptoms import NOTE, Head, are_recordings, frames_note, looked_at, read_interview
    from emoclip.video import called

    needs_stdout(json_file)
    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_writable(json_file, force=force, inputs=videos)
    model = EmoCLIP.load(package, threads=threads)
    head = Head(model)
    asked = (faces, fps, detector)
    if fps is None:
        fps = head.usual("fps", FPS)
        for line in frames_note(videos, fps):
            warn(line)
    mode = faces or head.usual("faces", "largest")
    usual = "haar" if head.usual("detector", "yunet") == "haar" else DETECTOR
    config, notes = settled(FaceConfig(mode=mode, detector=detector or usual))
    for note in notes:
        warn(note)
    records: list[dict[str, Any]] = []
    told: list[Estimate] = []  # where a file is written, that comes first
    if not json_file:
        say(NOTE)
    failed = False
    with progress_bars() as bars:
        for video in videos:
            name = called(video)
            task = bars.add_task(Path(name).name, total=None)
            try:
                seen = read_interview(
                    model,
                    [video],
                    config,
                    fps=fps,
                    progress=lambda seconds, task=task, name=name: bars.update(  # type: ignore[misc]
                        task, description=f"{Path(name).name} {seconds:.0f} s"
                    ),
                )
            except InputError as error:
                reason = " ".join(str(error).split())
                records.append({"input": name, "status": "error", "error": reason, "note": NOTE})
                warn(reason)
                failed = True
                continue
            finally:
                bars.remove_task(task)
            idle = _idle([video], *asked)
            for line in [*idle, *seen.warnings]:
                warn(f"{name}: {line}")
            looked = looked_at([video], config, fps)
            estimate = head.score(name, seen, looked)
            heard = [] if are_recordings([video]) else notes
            estimate = replace(estimate, warnings=[*idle, *heard, *estimate.warnings])
            record = {"status": "ok", **estimate.record()}
            if "detector" in looked:
                record["detector"] = looked["detector"]
            records.append(record)
            told.append(estimate)
            if not json_file:
                _print_estimate(estimate, clips)
    if json_file:
        text = json_text(records[0] if len(videos) == 1 else records)
        if to_stdout:
            emit(text)
        else:
            write_text(json_file, text, force=force)
            say(NOTE)
            for estimate in told:
                _print_estimate(estimate, clips)
    return 1 if failed else 0


@app.command("scales")
def scales_(
    scales: Annotated[
        Path | None,
        typer.Option("--scales", help="A YAML file of scales of your own.", show_default=False),
    ] = None,
) -> None:
    """List the clinical scales that are known: their columns, what they rate, and the range of a rating."""
    from emoclip.symptoms import scales as clinical

    needs_stdout()
    listed = table("column", "rates", "range", "scale", "also")
    for scale in clinical.scales(scales):
        for item in scale.items:
            listed.add_row(
                item.name, item.title, f"{item.low:g} to {item.high:g}", scale.title, ", ".join(item.also)
            )
    print_table(listed)


def _idle(sources: list[str], faces: "FaceMode | None", fps: float | None, detector: str | None) -> list[str]:
    """Say which of the options that were given cannot act on the sources."""
    from emoclip.config import FaceConfig
    from emoclip.symptoms import idle_note

    if faces is None and fps is None and detector in (None, DETECTOR):
        return []  # recordings are not read for it
    asked = FaceConfig(mode=faces or "all", detector=detector or DETECTOR)
    return idle_note(sources, asked, fps, "auto")


def _folds(text: str) -> int | None:
    if text.strip().casefold() == "loso":
        return None
    if not text.strip().isdecimal():
        fail(f"--folds {text}: must be a number, or loso (leave one subject out)", code=2)
    return int(text)


def _estimators(
    name: str, package: "Package", seed: int, permutations: tuple[int, int | None], threads: int | None
) -> "list[Estimator]":
    from emoclip.symptoms import Probe

    chosen: list[Estimator] = [Probe(permutations=permutations[0], seed=seed)] if name != "paper" else []
    if name != "probe":
        try:
            from emoclip.training.severity import PaperEstimator, SeverityRecipe
        except ImportError as error:
            fail(
                f"--estimator {name}: the paper's estimator needs {error.name}: pip install 'emoclip[train]', "
                "or pass --estimator probe"
            )
        paper = PaperEstimator(
            package, SeverityRecipe(seed=seed), permutations=permutations[1], threads=threads
        )
        if not paper.from_package:
            warn(
                "paper: the package's temporal part is not the paper's transformer; starting from the mean over frames"
            )
        chosen.append(paper)
    return chosen


def _print_study(study: "Study") -> None:
    from emoclip.symptoms import NOTE, chance

    dashed = False
    for target in study.cohort.targets:
        figures = table("", "PCC", "95 %", "CCC", "ICC", "MAE", "RMSE", "p", title=target.name)
        for name, result in (study.estimators | study.baselines).items():
            found = result.targets[target.name]
            low, high = found["pcc"]["ci95"]
            values = [found[metric]["value"] for metric in ("pcc", "ccc", "icc", "mae", "rmse")]
            cells = ["–" if value is None else f"{value:.3f}" for value in values]
            interval = "–" if low is None else f"{low:.2f} to {high:.2f}"
            row = [cells[0], interval, *cells[1:], chance(found)]
            figures.add_row(name.replace("_", " "), *row)
            dashed = dashed or "–" in row
        print_table(figures)
    if dashed:
        say("–: not defined (by one estimate for all, too few other scores, or folds of one)")
    say(NOTE)


def _print_estimate(estimate: "Estimate", clips: int) -> None:
    say(
        f"{estimate.input}  {estimate.duration_s:.1f} s, face readable in {estimate.coverage:.1%} of its clips"
    )
    for item in estimate.scores:
        limits = "" if item.range is None else f" of {item.range[0]:g} to {item.range[1]:g}"
        interval = (
            "no interval: too few subjects"
            if item.low is None
            else f"{estimate.level:.0%} interval {item.low:.2f} to {item.high:.2f}"
        )
        say(f"  {item.target} ({item.title}): {item.score:.2f}{limits}, {interval}")
        moves = [(clip, move) for clip in estimate.clips if (move := clip.moves[item.target]) is not None]
        if ranked := sorted(moves, key=lambda pair: -abs(pair[1]))[:clips]:
            told = (f"{clip.start_s:.1f}-{clip.end_s:.1f} s {move:+z.3f}" for clip, move in ranked)
            say(f"    moved most by {', '.join(told)}")
    for line in estimate.unlike:
        say(f"  unlike the study: {line}")
