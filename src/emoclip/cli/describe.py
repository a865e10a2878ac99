"""`emoclip describe`: sample-level descriptions of faces, made from face-mesh measures."""

from pathlib import Path
from typing import Annotated

import typer

from emoclip.cli.importing import training_module
from emoclip.errors import counted


def describe(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="A table of measures (.parquet, .csv), or pictures, where a face-mesh model is installed.",
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="Sentences per face.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses among phrasings.")] = 0,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write path,caption rows, a manifest to train on.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> int:
    """Describe what is seen in faces, from how each differs from others: captions where nobody wrote any."""
    import csv
    import io

    from emoclip.cli.console import say, warn
    from emoclip.files import check_writable, write_text

    mesh = training_module("mesh")
    if csv_file:
        check_writable(csv_file, force=force, inputs=inputs)
    tables = [path for path in inputs if path.suffix.lower() in {".parquet", ".csv"}]
    pictures = [path for path in inputs if path not in tables]
    rows: list[tuple[str, list[str]]] = []
    for table in tables:
        rows += mesh.describe_table(table, count, seed)
    if pictures:
        rows += [(str(path), texts) for path, texts in mesh.describe_pictures(pictures, count, seed).items()]
    bare = sum(not texts for _, texts in rows)
    if bare:
        warn(f"{bare} of {counted(len(rows), 'face')} without a description: no face mesh was found in them")
    captions = [(name, text) for name, texts in rows for text in texts]
    if csv_file:
        table_text = io.StringIO()
        csv.writer(table_text).writerows([("path", "caption"), *captions])
        write_text(csv_file, table_text.getvalue(), force=force)
    else:
        for name, text in captions:
            say(name, text)
    return 0
