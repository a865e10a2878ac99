"""`emoclip prompts`: show what labels become, and compare wordings on a data set."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from emoclip.characters import visible
from emoclip.cli.console import emit, say, stdout_console, table, warn
from emoclip.cli.evaluate import (
    embed_with_progress,
    face_config,
    fold_number,
    read_dataset,
    samplings,
    say_dataset,
    store_folder,
)
from emoclip.cli.options import (
    Cache,
    ClassOrder,
    Compound,
    DatasetFaces,
    DatasetName,
    Every,
    Fold,
    Frames,
    Layout,
    NoCache,
    Provider,
    Root,
    SamplingRule,
    Seeds,
    Split,
    Strict,
    Threads,
)

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

    shown = {prompt.label: sentences(prompt.parts) for prompt in prompts.prompts}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000)
    if text != visible(text):
        text = yaml.safe_dump(shown, sort_keys=False, width=1000)  # which escapes all that is not ASCII
    emit(text)
    for prompt in prompts.prompts:
        if len(prompt.parts) > 1:
            warn(
                f"{prompt.label} is the mean of its {len(prompt.parts)} parts; a prompt file would lose that"
            )


@app.command("compare")
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
    fold: Fold = "all",
    split: Split = None,
    compound: Compound = False,
    layout: Layout = None,
    frames: Frames = None,
    class_order: ClassOrder = None,
    faces: DatasetFaces = None,
    sampling: SamplingRule = "even",
    seed: Seeds = None,
    every: Every = 4,
    cache: Cache = None,
    no_cache: NoCache = False,
    threads: Threads = None,
    provider: Provider = "CPU",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the ranking as JSON; - for stdout.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --json file.")] = False,
    strict: Strict = False,
) -> None:
    """Rank wordings on a data set, and show how far scores swing with the wording.

    Choose wordings on training data: the best of several on a test split is chosen by the test.
    """
    from emoclip.engine import EmoCLIP
    from emoclip.errors import ConfigError
    from emoclip.evaluation import class_prompts, classify, compare_wordings, make_task, open_store
    from emoclip.files import check_writable, write_text

    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_writable(json_file, force=force)
    wordings = list(dict.fromkeys(prompts))
    if len(wordings) < 2:
        raise ConfigError("--prompts: give at least two to compare, e.g. --prompts names --prompts mine.yaml")
    data = read_dataset(dataset, root, compound, layout, frames, class_order)
    task = make_task(data, split, fold_number(fold))
    prompt_sets = [class_prompts(data, wording) for wording in wordings]
    config = face_config(data, faces)
    loaded = EmoCLIP.load(model, threads=threads, provider=provider)
    for prompt_set in prompt_sets:
        loaded.embed_text(prompt_set, strict=strict)
    rules = samplings(loaded, sampling, seed, every)
    say_dataset(task, config)
    with open_store(loaded.package, store_folder(cache, no_cache)) as store:
        embeddings = embed_with_progress(loaded, task, rules, config, store)
    found = compare_wordings(
        [
            classify(loaded, task, rules, config, embeddings, wording, prompt_set)
            for wording, prompt_set in zip(wordings, prompt_sets, strict=True)
        ]
    )
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if to_stdout:
        emit(text)
    else:
        if json_file:
            write_text(json_file, text, force=force)
        _print(found)
    if task.split is not None and task.split == data.test_split:
        warn("these are test clips: report the spread, but choose a wording on --split train")


def _print(found: dict[str, Any]) -> None:
    ranked = table("prompts", figures=("UAR %", "95 %", "WAR %", "95 %", "p to best"))
    for row in found["ranked"]:
        cells = [row["prompts"]]
        for key in ("uar", "war"):
            low, high = row["ci95"][key]
            cells += [f"{100 * row[key]:.2f}", f"{100 * low:.1f}-{100 * high:.1f}"]
        ranked.add_row(*cells, "" if row["p"] is None else f"{row['p']:.3f}")
    stdout_console().print(ranked)
    swing = found["swing"]
    say(
        f"wording swings UAR by {100 * swing['uar']['range']:.2f} points (sd {100 * swing['uar']['sd']:.2f}) and "
        f"WAR by {100 * swing['war']['range']:.2f} (sd {100 * swing['war']['sd']:.2f}); "
        f"two wordings agree on {found['agreement']:.0%} of the clips"
    )
