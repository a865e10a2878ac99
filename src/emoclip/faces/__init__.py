"""Frames to faces: found, followed from frame to frame, and cut out for the model."""

from emoclip.faces.following import Face, FaceFollower, square_crop

__all__ = ["Face", "FaceFollower", "square_crop"]
