"""Any input to frames with times: videos, pictures, folders, arrays, cameras and streams."""

from emoclip.video.ahead import Ahead, at_work, is_ending, one_opencv_thread, working
from emoclip.video.animations import read_animation
from emoclip.video.arrays import called
from emoclip.video.content import Content, asked_rate, at_rate, changed, paced, rate_of, without_rate
from emoclip.video.finding import Found, expand_inputs, find_inputs, is_pattern
from emoclip.video.folders import OVERLAY, VIDEO_SUFFIXES, media_type
from emoclip.video.frames import Frame, none_between, past_end
from emoclip.video.inputs import AHEAD_BYTES, Video, open_video
from emoclip.video.pictures import Pixels, is_picture, natural_order, read_picture
from emoclip.video.sources import for_ffmpeg

__all__ = [
    "AHEAD_BYTES",
    "OVERLAY",
    "VIDEO_SUFFIXES",
    "Ahead",
    "Content",
    "Found",
    "Frame",
    "Pixels",
    "Video",
    "asked_rate",
    "at_rate",
    "at_work",
    "called",
    "changed",
    "expand_inputs",
    "find_inputs",
    "for_ffmpeg",
    "is_ending",
    "is_pattern",
    "is_picture",
    "media_type",
    "natural_order",
    "none_between",
    "one_opencv_thread",
    "open_video",
    "paced",
    "past_end",
    "rate_of",
    "read_animation",
    "read_picture",
    "without_rate",
    "working",
]
