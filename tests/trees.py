"""Small data sets in the layouts that the real ones lie in, with pictures and videos made here."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

THEIR_DISK = "/data/somebody/datasets"
# clip -> class and captions, a few of each
MAFW = {
    "00025": ("anger", "她瞪着眼", "The woman glares with her brows lowered."),
    "00151": ("happiness", "男人笑了", "The man smiles broadly."),
    "03747": ("sadness", "女孩哭泣", "A girl cries, the corners of her mouth down."),
    "04001": ("disappointment", "他叹气", "He sighs and looks down."),
}
MAFW_COMPOUND = {
    "00100": ("anger_disgust_anxiety", "他皱眉", "He frowns and wrinkles his nose."),
    "00151": ("happiness", "男人笑了", "The man smiles broadly."),
    "00200": ("sadness_helplessness", "她低头", "She lowers her head."),
}


def picture(seed: int, size: int = 32) -> np.ndarray:
    """A colourful picture (size, size, 3) uint8 that no other seed makes."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
    return np.kron(cells, np.ones((size // 4, size // 4, 1), np.uint8))


def frame_folder(
    folder: Path, frames: int = 6, *, seed: int = 0, suffix: str = ".jpg", size: int = 32
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        Image.fromarray(picture(1000 * seed + index, size)).save(folder / f"{index + 1:05d}{suffix}")
    return folder


def video(path: Path, frames: int = 10, *, seed: int = 0, size: int = 64, codec: str = "mpeg4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(1000 * seed + index, size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def mafw_official(root: Path, *, compound: bool = False, end: str = "\n", encoding: str = "utf-8") -> Path:
    """Videos and label files as distributed; clip k is in the test list of fold k, the others in its train list."""
    return _mafw(
        root, "Train & Test Set", ("with_caption", "no_caption"), compound, end, encoding, videos=True
    )


def mafw_emoclip(root: Path, *, compound: bool = False) -> Path:
    names = ("with_caption_new", "no_caption_new")
    return _mafw(root, "Train_Test_Set", names, compound, "\n", "gbk", videos=False)


def _mafw(
    root: Path, top: str, names: tuple[str, str], compound: bool, end: str, encoding: str, *, videos: bool
) -> Path:
    rows = MAFW_COMPOUND if compound else MAFW
    kind = "compound" if compound else "single"
    for number, clip in enumerate(rows):
        if videos:
            video(root / "clips" / f"{clip}.mp4", seed=number)
        else:
            frame_folder(root / "data/faces" / clip, seed=number)
    if videos:
        for name, labelled in (("single_label", MAFW), ("multi_label", MAFW_COMPOUND)):
            lines = [f"{clip}.mp4\t{label}\t{zh}\t{en}" for clip, (label, zh, en) in labelled.items()]
            write(root / "caption-label" / f"{name}.txt", end.join(lines), encoding)
    for fold in range(1, 6):
        for split in ("train", "test"):
            chosen = [clip for place, clip in enumerate(rows) if (place % 5 + 1 == fold) == (split == "test")]
            full = [f"{clip}.mp4\t{rows[clip][0]}\t{rows[clip][1]}\t{rows[clip][2]}" for clip in chosen]
            bare = [f"{clip}.mp4\t{rows[clip][0]}" for clip in chosen]
            for folder, lines in zip(names, (full, bare), strict=True):
                write(
                    root / top / kind / folder / f"set_{fold}" / f"{split}.txt",
                    end.join(lines) + end,
                    encoding,
                )
    return root


def mafw_dferclip(root: Path, order: tuple[str, ...], *, folds: int = 5, base: int = 0) -> Path:
    for number, clip in enumerate(MAFW):
        frame_folder(root / "data/faces" / clip, seed=number)
    for fold in range(1, folds + 1):
        for split in ("train", "test"):
            lines = [
                f"{THEIR_DISK}/MAFW/data/faces/{clip} 6 {order.index(MAFW[clip][0]) + base}"
                for place, clip in enumerate(MAFW)
                if (place % 5 + 1 == fold) == (split == "test")
            ]
            if lines:
                write(root / "annotation" / f"MAFW_set_{fold}_{split}.txt", "\n".join(lines))
    return root


# DFEW: one clip per class; labels 1 to 7 = happy sad neutral anger surprise disgust fear
DFEW = {number: number for number in range(1, 8)}


def dfew_official(root: Path, *, frames: str = "Clip/clip_224x224", base: int = 1, end: str = "\n") -> Path:
    for clip in DFEW:
        if frames.endswith("_avi"):
            video(root / frames / f"{clip:05d}.avi", seed=clip)
        elif frames.endswith("original"):
            video(root / frames / f"{clip}.mp4", seed=clip)
        else:
            frame_folder(root / frames / f"{clip:05d}", seed=clip)
    for fold in range(1, 6):
        for split in ("train", "test"):
            lines = ["video_name,label"] + [
                f"{clip},{label - 1 + base}"
                for clip, label in DFEW.items()
                if (clip % 5 + 1 == fold) == (split == "test")
            ]
            name = f"EmoLabel_DataSplit/{split}(single-labeled)/set_{fold}.csv"
            write(root / name, end.join(lines) + end)
    return root


def dfew_lists(root: Path, *, frames: int = 6) -> Path:
    for clip in DFEW:
        frame_folder(root / "DFEW_Frame_Face" / f"{clip:05d}", frames, seed=clip)
    for fold in range(1, 6):
        for split in ("train", "test"):
            lines = [
                f"{THEIR_DISK}/DFEW/DFEW_Frame_Face/{clip:05d} 6 {label - 1}"
                for clip, label in DFEW.items()
                if (clip % 5 + 1 == fold) == (split == "test")
            ]
            write(root / f"DFEW_set_{fold}_{split}.txt", "\n".join(lines))
    return root


FERV39K = ["Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear"]


def ferv39k(root: Path, layout: str, *, shift: int = 0) -> Path:
    """layout: official, emoclip or dferclip.  shift: how far the class indices are off."""
    for number, emotion in enumerate(FERV39K):
        for split, clip in (("train", "0010"), ("test", "0267")):
            frame_folder(
                root / "2_ClipsforFaceCrop/Action" / emotion / clip, 3, seed=10 * number + len(split)
            )
    for split, clip in (("train", "0010"), ("test", "0267")):
        if layout == "official":
            lines = [f"Action/{emotion}/{clip} {emotion}" for emotion in FERV39K]
            write(root / "4_setups/All_scenes" / f"{split}_All.csv", "\n".join(lines))
            continue
        lines = [
            f"{THEIR_DISK}/FERV39K/2_ClipsforFaceCrop/Action/{emotion}/{clip} 3 {(index + shift) % 7}"
            for index, emotion in enumerate(FERV39K)
        ]
        name = f"{split}_image.txt" if layout == "emoclip" else f"FERV39K_{split}.txt"
        write(root / name, "\n".join(lines))
    return root


AFEW = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]


def afew_official(root: Path, *, aligned: bool = False) -> Path:
    for number, emotion in enumerate(AFEW):
        for split, clip in (("Train", f"0000{number}1240"), ("Val", f"0000{number}6280")):
            video(root / f"{split}_AFEW" / emotion / f"{clip}.avi", 5, seed=number)
            if aligned:
                frame_folder(root / f"{split}_AFEW/AlignedFaces_LBPTOP_Points/Faces" / clip, 4, seed=number)
    return root


def afew_emoclip(root: Path) -> Path:
    names = ["Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]
    for number, emotion in enumerate(names):
        for split in ("train", "validation"):
            folder = root / "AFEW_Face" / split / emotion / f"{number}_2_00{len(split)}343200"
            frame_folder(folder, 4, seed=number, suffix=".png")
    return root
