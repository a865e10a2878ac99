"""`emoclip teach`: the coder's own categories, learnt from codings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.agree import Fps, Gaps, Same, Tier, read_names, read_sources, read_subjects
from emoclip.cli.console import fail, progress_bars, say, warn
from emoclip.cli.options import Model
from emoclip.errors import counted
from emoclip.files import check_apart, check_folder, check_writable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emoclip.codings import Coding, Lesson
    from emoclip.engine import EmoCLIP
    from emoclip.recording import Recording, Shelf


def teach(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO-OR-RECORDING...",
            help="Videos, or the recordings (.npz) that were kept of them; more than were coded, for --suggest.",
            show_default=False,
        ),
    ],
    codings: Annotated[
        list[Path] | None,
        typer.Option(
            "--codings", "-c", help="A coding or a folder of them; may be given again.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Label set to write, NAME.labels.", show_default="none"),
    ] = None,
    suggest: Annotated[
        int, typer.Option("--suggest", min=0, help="Write this many windows to code next, as ELAN files.")
    ] = 0,
    suggest_to: Annotated[Path, typer.Option("--suggest-to", help="Folder for the ELAN files.")] = Path(
        "to-code"
    ),
    words: Annotated[
        Path | None,
        typer.Option(
            "--words", help=".yaml/.json file of label: sentences that describe it.", show_default=False
        ),
    ] = None,
    same: Same = None,
    tier: Tier = None,
    fps: Fps = None,
    gaps: Gaps = "none",
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            min=0.05,
            max=3600,
            help="Seconds of video per reading.",
            show_default="half of what a mark lasts",
        ),
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            "--subjects", help="CSV of video,subject: whole subjects are left out.", show_default=False
        ),
    ] = None,
    recordings: Annotated[
        Path, typer.Option("--recordings", help="Folder in which what was seen of videos is kept.")
    ] = Path("recordings"),
    model: Model = "mini",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU cores to use.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of folds, resampling and suggestions.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing outputs, and recordings that do not serve.")
    ] = False,
) -> int:
    """Learn labels from what people coded, starting from the words; judged on videos left out.

    `predict` and `timeline` take the label set as --labels NAME.labels. It says how an expression reads to the coders.
    """
    from emoclip.codings import check_names, prepare_lesson, teach_labels, write_labels
    from emoclip.engine import EmoCLIP
    from emoclip.prompts import read_prompt_file
    from emoclip.recording import Shelf

    if out is None and not suggest:
        fail("nothing to write: name a label set with --out NAME.labels, or ask for --suggest 20", code=2)
    if out is not None and out.suffix != ".labels":
        fail(
            f"--out {out}: name it NAME.labels, so that other commands know it for a taught label set", code=2
        )
    if out is not None:
        for path in (out, out.with_suffix(".card.md")):
            check_writable(path, force=force, inputs=[*videos, *(codings or [])])
            check_apart(path, recordings)
    if suggest:
        if any(suggest_to.resolve() in (path.resolve(), *path.resolve().parents) for path in codings or []):
            fail(f"{suggest_to}: holds codings that are read; name another folder with --suggest-to", code=2)
        check_folder(suggest_to, force=force)
        check_apart(suggest_to, recordings, out)
    described = (
        {p.label: [s for part in p.parts for s in part] for p in read_prompt_file(words).prompts}
        if words
        else {}
    )
    if out is not None and not codings:
        fail(
            f"--out {out}: is learnt from codings, and none is named; name them with --codings, or leave --out out and "
            "give --words words.yaml --suggest 20 to begin (`predict` and `timeline` take words.yaml as --labels)",
            code=2,
        )
    sources, failed = read_sources(codings or [], tier or [], fps)
    names = read_names(same or [])
    check_names(names, (label for _, part in sources for coding in part for label in coding.labels))
    found = [coding.renamed(names) for _, part in sources for coding in part]
    loaded = EmoCLIP.load(model, threads=threads)
    seen, unread = _recordings(loaded, videos, Shelf(recordings, force), found, window)
    lesson = prepare_lesson(
        loaded,
        list(seen.values()),
        found,
        sentences=described,
        window_s=window,
        skip_gaps=gaps == "uncoded",
        subjects=read_subjects(subjects),
    )
    for line in lesson.notes:
        warn(line)
    rows = None
    if out is not None:
        with progress_bars() as bars:
            bar = bars.add_task("learning", total=1.0)
            taught, _, card = teach_labels(lesson, lambda share: bars.update(bar, completed=share), seed=seed)
        rows = taught.matrix()
        for line in card["warnings"]:
            warn(line)
        written = write_labels(lesson, taught, card, out, force=force)
    to_code = _suggest(lesson, rows, suggest, suggest_to, seen, seed, force) if suggest else ""
    if out is not None:
        _show(card)
        say(f"written: {', '.join(map(str, written))}")
    if to_code:
        say(to_code)
    return 1 if failed or unread else 0


def _recordings(
    model: "EmoCLIP", videos: list[str], shelf: "Shelf", codings: "list[Coding]", window: float | None
) -> "tuple[dict[str, Recording], bool]":
    """Read recordings, and watch videos of which none is kept, for the windows asked for; by the videos' names."""
    from emoclip.codings import named_videos, usual_window, way_of
    from emoclip.config import FaceConfig, WindowConfig
    from emoclip.errors import EmoclipError
    from emoclip.files import told
    from emoclip.recording import Recording, is_recording
    from emoclip.timeline import Settings, plan, recorded
    from emoclip.video import find_inputs

    faces = FaceConfig(mode="all")
    found: list[Recording] = []
    failed = False
    inputs = find_inputs(videos, say=warn)
    stems = {way_of(told(str(item.source)))[-1] for item in inputs}
    about = [coding for coding in codings if not coding.machine and Path(coding.video).name in stems]
    window_s = window or usual_window(about)
    least_s = max(window_s, WindowConfig.length_s)  # windows that a recording of an earlier run must serve
    unseen = [item for item in inputs if not is_recording(item.source)]
    sources: list[tuple[str | int, str]] = [(item.source, "") for item in inputs if item not in unseen]
    kept = Settings(out=shelf.folder, formats=("npz",), watch_only=True)
    sources += [(item.source, item.name) for item in plan(unseen, kept)]
    with progress_bars() as bars:
        bar = bars.add_task("watching", total=float(len(sources)))
        for done, (source, name) in enumerate(sources):

            def tell(spent_s: float, of_s: float | None, done: int = done) -> None:
                bars.update(bar, completed=done + (spent_s / of_s if of_s else 0.0))

            try:
                if not name:
                    found.append(Recording.read(Path(str(source)), model=model.package.seen_by))
                else:
                    bars.update(bar, completed=done, description=f"watching {name}")
                    recording, _ = recorded(
                        model,
                        source,
                        shelf,
                        name,
                        faces=faces,
                        window_s=least_s if shelf.path(name).exists() and not shelf.force else window_s,
                        progress=tell,
                    )
                    found.append(recording)
                for line in found[-1].warnings:
                    warn(f"{source}: {line}")
            except EmoclipError as error:
                warn(str(error))
                failed = True
            bars.update(bar, completed=done + 1)
    if not found:
        fail("no video or recording could be read")
    return named_videos(found), failed


def _suggest(
    lesson: "Lesson",
    rows: "NDArray[np.float32] | None",
    count: int,
    folder: Path,
    seen: "dict[str, Recording]",
    seed: int,
    force: bool,
) -> str:
    """Write windows to code, and return what to say of them: nothing where none is left."""
    from emoclip.codings import suggest_windows, write_suggestions
    from emoclip.errors import InputError

    try:
        windows = suggest_windows(lesson.samples, lesson.words if rows is None else rows, count, seed=seed)
    except InputError as error:
        if rows is None:
            raise
        warn(f"nothing to suggest: {error}")  # the labels are written
        return ""
    written = write_suggestions(windows, lesson.labels, seen, folder, force=force)
    if len(windows) < count:
        warn(f"only {counted(len(windows), 'window')} left that nobody has coded")
    return f"{counted(len(windows), 'window')} to code in {counted(len(written), 'ELAN file')}; in {folder}"


def _show(card: "dict[str, Any]") -> None:
    from emoclip.codings import DASH, forecast, shown_figure

    say(
        f"{card['minutes']:.1f} minutes coded in {card['groups']} {card['left_out']}; on those left out, kappa with "
        f"the coders {shown_figure(card['kappa'])}, of the words alone {shown_figure(card['kappa_words'])}, "
        f"gained {shown_figure(card['gain'])}"
    )
    kappas = {label: found["kappa"] or {"value": None} for label, found in card["per_label"].items()}
    for label, kappa in kappas.items():
        say(f"  {label}: kappa {shown_figure(kappa)}")
    if any(kappa["value"] is None for kappa in [card["kappa"], card["kappa_words"], *kappas.values()]):
        say(DASH)
    say(forecast(card["next"]))
