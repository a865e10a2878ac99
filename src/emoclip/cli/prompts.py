"""`emoclip prompts`: show what labels become, and compare wordings on a data set."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclip.characters import visible
from emoclip.cli.console import emit, needs_stdout, print_table, say, table, warn
from emoclip.cli.dataset import DatasetName, Root, Scoring, say_dataset, say_resampling, score_cells
from emoclip.cli.options import Strict, spread

app = typer.Typer(help="Show what labels become; compare wordings on a data set.", no_args_is_help=True)


@app.command("show")
def show(
    labels: Annotated[
        str, typer.Argument(help="As for predict --labels: words, a set's name, or a prompt file.")
    ] = "seven",
    model: Annotated[str, typer.Option("--model", "-m", help="The model that is asked about them.")] = "mini",
    strict: Strict = False,
) -> None:
    """Show the sentences that labels become, as a prompt file to start from (YAML), and which of them are doubtful."""
    import yaml

    from emoclip.engine import EmoCLIP
    from emoclip.prompts import resolve

    prompts = resolve(labels)
    EmoCLIP.load(model).embed_text(prompts, strict=strict)

    def sentences(parts: tuple[tuple[str, ...], ...]) -> list[str]:
        return [sentence for part in parts for sentence in part]

    shown = {prompt.label: sentences(prompt.parts) for prompt in prompts.prompts if prompt.parts}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000)
    if text != visible(text):
        text = yaml.safe_dump(shown, sort_keys=False, width=1000)  # which escapes all that is not ASCII
    emit(text)
    if prompts.taught:
        warn(
            f"{labels}: was taught from codings, in windows of {prompts.taught.window_s:g} s; what was learnt is read "
            "in place of these sentences, and a prompt file would lose it"
        )
        return
    for prompt in prompts.prompts:
        if not prompt.parts:
            warn(f"{prompt.label} has no sentence and is left out; a prompt file would lose that")
        if len(prompt.parts) > 1:
            warn(
                f"{prompt.label} is the mean of its {len(prompt.parts)} parts; a prompt file would lose that"
            )
        if prompt.denied:
            warn(f"{prompt.label} denies {prompt.denied[0]!r}; a prompt file would lose that")


@app.command("compare")
@spread
def compare(
    dataset: DatasetName,
    root: Root,
    prompts: Annotated[
        list[str],
        typer.Option(
            "--prompts",
            help="Repeat: sentences, names, templates, or a .yaml/.json file.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Model package.")] = "mini",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the ranking as JSON; - for stdout.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --json file.")] = False,
    strict: Strict = False,
    *,
    given: Scoring,
) -> None:
    """Rank wordings on a data set, and show how far scores swing with the wording.

    Choose wordings on training data: the best of several on a test split is chosen by the test.
    """
    from emoclip.engine import EmoCLIP
    from emoclip.errors import ConfigError
    from emoclip.evaluation import class_prompts, classify, compare_wordings
    from emoclip.files import check_writable, json_text, write_text

    needs_stdout(json_file)
    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_writable(json_file, force=force)
    wordings = list(dict.fromkeys(prompts))
    for wording in wordings:
        if prompts.count(wording) > 1:
            warn(f"--prompts: {wording} is given more than once; it is scored once")
    if len(wordings) < 2:
        raise ConfigError("--prompts: give at least two to compare, e.g. --prompts names --prompts mine.yaml")
    data = given.read(dataset, root)
    task = given.task(data)
    prompt_sets = [class_prompts(data, wording) for wording in wordings]
    faces = given.face_config(data)
    loaded = EmoCLIP.load(model, threads=given.threads, provider=given.provider)
    for prompt_set in prompt_sets:
        loaded.embed_text(prompt_set, strict=strict)
    rules = given.samplings(loaded)
    say_dataset(task, faces)
    embeddings = given.embed(loaded, task, rules, faces)
    evaluations = [
        classify(loaded, task, rules, faces, embeddings, wording, prompt_set)
        for wording, prompt_set in zip(wordings, prompt_sets, strict=True)
    ]
    say_resampling(evaluations)
    found = compare_wordings(evaluations)
    text = json_text(found, 1)
    if to_stdout:
        emit(text)
    else:
        if json_file:
            write_text(json_file, text, force=force)
        _print(found)
    for line in found["absences"]:
        warn(line)
    if task.split is not None and task.split == data.test_split:
        warn("these are test clips: report the spread, but choose a wording on --split train")


def _print(found: dict[str, Any]) -> None:
    from emoclip.metrics import shown_p

    ranked = table("prompts", figures=("UAR %", "95 %", "WAR %", "95 %", "p to best"))
    for row in found["ranked"]:
        p = "" if row["p"] is None else shown_p(row["p"])
        ranked.add_row(row["prompts"], *score_cells(row), p)
    print_table(ranked)
    swing = found["swing"]
    say(
        f"wording swings UAR by {100 * swing['uar']['range']:.2f} points (sd {100 * swing['uar']['sd']:.2f}) and "
        f"WAR by {100 * swing['war']['range']:.2f} (sd {100 * swing['war']['sd']:.2f}); "
        f"two wordings agree on {found['agreement']:.0%} of the clips"
    )
