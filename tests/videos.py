"""Videos made in the test, and all frames of one read back."""

from fractions import Fraction

import av
import numpy as np

from emoclip.video import open_video


def noise(count, size=(120, 160)):
    """Moving texture, so that the packets are large enough to be damaged."""
    base = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    return [np.roll(base, 3 * i, axis=1) for i in range(count)]


def write(path, pictures, fps=25, codec="libx264", pix_fmt="yuv420p", stamps=None, turn=None, **options):
    """Encode `pictures`; `stamps` are times in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if turn is not None:
            stream.set_display_rotation(turn)
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(source, **options):
    with open_video(source, **options) as video:
        return list(video), video
