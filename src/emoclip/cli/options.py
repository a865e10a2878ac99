"""Options that several commands share, so that each has one name, one help text and one default everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emoclip.config import FaceConfig

DETECTOR = FaceConfig.detector
MAX_FACES = FaceConfig.max_faces
MIN_FACE = FaceConfig.min_face_px

Detector = Annotated[
    str,
    typer.Option("--detector", help="auto: YuNet, or Haar cascades where it is not installed; yunet; haar."),
]
MaxFaces = Annotated[int, typer.Option("--max-faces", min=1, help="Faces read in a frame, the largest.")]
MinFace = Annotated[int, typer.Option("--min-face", min=8, help="Side of the smallest face read, in px.")]
Start = Annotated[float, typer.Option("--start", min=0, help="Start at this second.")]
End = Annotated[float | None, typer.Option("--end", help="Stop at this second.", show_default="the end")]
PictureFps = Annotated[
    float, typer.Option("--fps", help="Frames per second of a folder of pictures or TIFF pages.")
]
Model = Annotated[str, typer.Option("--model", "-m", help="Model package: a name, or a folder.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Videos at once.")]
Provider = Annotated[str, typer.Option("--provider", help="ONNX Runtime provider: CPU, CUDA, ...")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU cores to use.", show_default="all")
]
ThreadsPerVideo = Annotated[
    int | None, typer.Option("--threads", min=1, help="Cores per video.", show_default="all")
]
RunPrecision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option(
        "--precision", help="Of the image tower; auto: int8 where model and CPU have it, else fp32."
    ),
]
EachPicture = Annotated[
    bool | None,
    typer.Option(
        "--each/--one-clip",
        help="A folder's pictures: one answer each, or frames of one clip.",
        show_default="told by how alike they are",
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop if the model cannot tell labels apart, or knows no word of one."),
]
RawCells = Annotated[
    bool,
    typer.Option(
        "--raw-cells", help="CSV: no apostrophe before text that a spreadsheet would run (=, +, -, @)."
    ),
]
StoredPrecision = Annotated[
    Literal["fp32", "fp16", "int8"],
    typer.Option(
        "--precision", help="fp16: half the size. int8: fp16, and an image tower several times faster."
    ),
]
Scores = Annotated[
    bool,
    typer.Option(
        "--scores",
        help="Also say of each label alone how strongly it shows, 0 to 1, whatever the others are.",
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="VIDEO|START-END|auto",
        help="The person's own resting face, taken out first: a video of it, seconds of the input, or auto.",
        show_default=False,
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Folder or manifest of face crops (64 or more) that int8 is made and judged on.",
        show_default=False,
    ),
]

# Of commands that read a data set.
DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="mafw, dfew, ferv39k, afew, or manifest.", show_default=False)
]
Root = Annotated[
    Path, typer.Option("--root", help="The data set's folder; for manifest the file.", show_default=False)
]
Fold = Annotated[str, typer.Option("--fold", help="A fold, or all.")]
Split = Annotated[
    str | None, typer.Option("--split", help="A split, or all.", show_default="the set's test split")
]
Compound = Annotated[bool, typer.Option("--compound", help="MAFW's compound set.")]
Layout = Annotated[
    str | None,
    typer.Option("--layout", help="official, emoclip or dferclip.", show_default="recognised by itself"),
]
Frames = Annotated[
    str | None,
    typer.Option("--frames", help="Part of the name of the frames' folder, where there are several."),
]
ClassOrder = Annotated[
    str | None, typer.Option("--class-order", help="What the indices in a list mean: a, b, c, ...")
]
DatasetFaces = Annotated[
    str | None,
    typer.Option(
        "--faces",
        help="full: the frames are face crops; largest: find the largest face.",
        show_default="full for cropped sets",
    ),
]
SamplingRule = Annotated[
    str,
    typer.Option("--sampling", help="even: frames over the whole clip; paper: the official random window."),
]
Seeds = Annotated[
    str | None, typer.Option("--seed", help="Seeds of --sampling paper: N[,N...].", show_default="0")
]
Every = Annotated[int, typer.Option("--every", min=1, help="Keep every k-th frame, with --sampling paper.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder in which embeddings are kept.", show_default="the user's cache"),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no embeddings; a killed run starts anew.")]
