"""Options that several commands share, so that each has one name, one help text and one default everywhere."""

from typing import Annotated

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
