"""Frames to faces: found, followed from frame to frame, and cut out for the model."""

from emoclip.faces.boxes import Face
from emoclip.faces.crops import crop_face, square_crop
from emoclip.faces.detectors import settled, used
from emoclip.faces.following import FaceFollower, Note
from emoclip.faces.quality import quality_of
from emoclip.faces.yunet import detector_facts

__all__ = [
    "Face",
    "FaceFollower",
    "Note",
    "crop_face",
    "detector_facts",
    "quality_of",
    "settled",
    "square_crop",
    "used",
]
