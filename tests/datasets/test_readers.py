import shutil

import pytest
import trees

from emoclip import datasets
from emoclip.datasets import mafw
from emoclip.errors import ConfigError, InputError


def labels(dataset, split=None, fold=None):
    return {clip.path.stem: clip.label for clip in dataset.select(split, fold)}


def all_there(dataset):
    return all(clip.path.exists() for clip in dataset.clips)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_mafw_official(tmp_path, end, encoding):
    dataset = datasets.read("mafw", trees.mafw_official(tmp_path, end=end, encoding=encoding))
    assert dataset.layout == "official distribution, single labels"
    assert dataset.folds == [1, 2, 3, 4, 5]
    assert labels(dataset, "test", 2) == {"00151": "happiness"}
    assert set(labels(dataset, "train", 2)) == {"00025", "03747", "04001"}
    assert all_there(dataset)
    assert not dataset.cropped
    assert any("whole scenes" in note for note in dataset.notes)
    captions = {clip.path.stem: clip.caption for clip in dataset.select("train", 2)}
    assert captions["00025"] == "The woman glares with her brows lowered."


def test_mafw_compound_classes_are_the_single_ones_and_those_that_occur(tmp_path):
    dataset = datasets.read("mafw", trees.mafw_official(tmp_path, compound=True), compound=True)
    assert dataset.classes == (*mafw.CLASSES, "anger_disgust_anxiety", "sadness_helplessness")
    assert labels(dataset, "test", 1) == {"00100": "anger_disgust_anxiety"}


def test_mafw_in_the_form_of_the_official_code(tmp_path):
    dataset = datasets.read("mafw", trees.mafw_emoclip(tmp_path))
    assert dataset.layout == "EmoCLIP's Train_Test_Set, single labels"
    assert dataset.cropped
    assert labels(dataset, "test", 1) == {"00025": "anger"}
    assert {clip.caption for clip in dataset.select("test", 1)} == {
        "The woman glares with her brows lowered."
    }
    assert all_there(dataset)


def test_mafw_lists_are_read_in_dferclips_order_unless_told(tmp_path):
    trees.mafw_dferclip(tmp_path, mafw.DFERCLIP_ORDER)
    dataset = datasets.read("mafw", tmp_path)
    assert labels(dataset, "test", 1) == {"00025": "anger"}
    assert any("0 = happiness" in note for note in dataset.notes)
    assert all_there(dataset)
    other = datasets.read("mafw", tmp_path, class_order=mafw.CLASSES)
    assert labels(other, "test", 1) == {"00025": "happiness"}


@pytest.mark.parametrize(("order", "words"), [(mafw.CLASSES, "anger"), (mafw.DFERCLIP_ORDER, "happiness")])
def test_mafws_label_file_proves_the_class_order(tmp_path, order, words):
    trees.mafw_dferclip(tmp_path, order)
    lines = [f"{clip}.mp4\t{row[0]}\t{row[1]}\t{row[2]}" for clip, row in trees.MAFW.items()]
    trees.write(tmp_path / "caption-label/single_label.txt", "\n".join(lines))
    dataset = datasets.read("mafw", tmp_path)
    assert labels(dataset) == {clip: row[0] for clip, row in trees.MAFW.items()}
    assert any(f"0 = {words}" in note and "agree" in note for note in dataset.notes)


def test_mafw_lists_that_contradict_the_label_file_are_refused(tmp_path):
    trees.mafw_dferclip(tmp_path, tuple(reversed(mafw.CLASSES)))
    lines = [f"{clip}.mp4\t{row[0]}" for clip, row in trees.MAFW.items()]
    trees.write(tmp_path / "caption-label/single_label.txt", "\n".join(lines))
    with pytest.raises(InputError, match="neither DFER-CLIP's nor EmoCLIP's class order; pass --class-order"):
        datasets.read("mafw", tmp_path)


@pytest.mark.parametrize(
    ("frames", "cropped"),
    [("Clip/clip_224x224", True), ("Clip/clip_224x224_avi", True), ("Clip/original", False)],
)
def test_dfew_official(tmp_path, frames, cropped):
    dataset = datasets.read("dfew", trees.dfew_official(tmp_path, frames=frames))
    assert dataset.layout == "official distribution"
    assert all_there(dataset)
    assert dataset.cropped == cropped
    assert dataset.classes == ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    by_number = {int(clip): label for clip, label in labels(dataset).items()}
    assert by_number == dict(zip(range(1, 8), dataset.classes, strict=True))
    assert any("count from 1" in note for note in dataset.notes)


def test_dfew_frames_are_chosen_by_name(tmp_path):
    trees.dfew_official(tmp_path)
    trees.dfew_official(tmp_path, frames="Clip/clip_224x224_16f")
    assert "clip_224x224/" in datasets.read("dfew", tmp_path).clips[0].id
    chosen = datasets.read("dfew", tmp_path, frames="16f")
    assert "clip_224x224_16f/" in chosen.clips[0].id
    assert any("16 resampled frames" in note for note in chosen.notes)
    with pytest.raises(InputError, match="--frames 112x112: not among") as caught:
        datasets.read("dfew", tmp_path, frames="112x112")
    known, _, there = str(caught.value).partition("; of these are here: ")
    assert there == "Clip/clip_224x224/ID, Clip/clip_224x224_16f/ID"
    assert known.endswith("Clip/clip_224x224_avi/ID.avi, Clip/clip_224x224_16f/ID, Clip/original/ID.mp4")


@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "utf-16"])
def test_lists_of_every_set_are_read_in_the_same_encodings(tmp_path, encoding):
    sets = {
        "dfew": trees.dfew_official(tmp_path / "dfew"),
        "ferv39k": trees.ferv39k(tmp_path / "ferv39k", "official"),
        "mafw": trees.mafw_emoclip(tmp_path / "mafw"),
    }
    for name, root in sets.items():
        usual = datasets.read(name, root)
        for path in [*root.rglob("*.csv"), *root.rglob("*.txt")]:
            text = path.read_text("gbk" if name == "mafw" else "utf-8")
            trees.write(path, text.replace("video_name,label", "视频名,标签"), encoding)
        assert datasets.read(name, root) == usual


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_dfew_lists_that_a_spreadsheet_saved(tmp_path, mark):
    usual = datasets.read("dfew", trees.dfew_official(tmp_path))
    for path in (tmp_path / "EmoLabel_DataSplit").rglob("*.csv"):
        saved = path.read_text().replace("video_name,label", '"Video_Name","Label"').replace(",", mark)
        path.write_text(saved, encoding="utf-8-sig")
    assert datasets.read("dfew", tmp_path).clips == usual.clips


def test_dfew_labels_that_count_from_0_are_seen(tmp_path):
    dataset = datasets.read("dfew", trees.dfew_official(tmp_path, base=0))
    assert {int(clip): label for clip, label in labels(dataset).items()}[1] == "happiness"
    assert any("count from 0, though" in note for note in dataset.notes)


@pytest.mark.parametrize("layout", ["emoclip", "dferclip", None])
def test_dfew_lists(tmp_path, layout):
    dataset = datasets.read("dfew", trees.dfew_lists(tmp_path), layout=layout)
    assert {int(clip): label for clip, label in labels(dataset).items()}[6] == "disgust"
    assert all_there(dataset)
    assert dataset.clips[0].frames == 6


@pytest.mark.parametrize("layout", ["official", "emoclip", "dferclip"])
def test_ferv39k(tmp_path, layout):
    dataset = datasets.read("ferv39k", trees.ferv39k(tmp_path, layout))
    assert all_there(dataset)
    assert [clip.label for clip in dataset.select("test")] == list(dataset.classes)
    assert dataset.select("test")[0].id == "2_ClipsforFaceCrop/Action/Happy/0267"
    assert dataset.folds == []


def test_ferv39k_in_another_class_order_is_refused_and_can_be_told(tmp_path):
    trees.ferv39k(tmp_path, "dferclip", shift=1)
    with pytest.raises(InputError, match=r"FERV39K_train.txt:1: the folder Action/Happy/0010 says happiness"):
        datasets.read("ferv39k", tmp_path)
    order = ("fear", "happy", "sad", "neutral", "angry", "surprise", "disgust")
    told = datasets.read("ferv39k", tmp_path, class_order=order)
    assert told.select("test")[0].label == "happiness"
    with pytest.raises(InputError, match="must name each of these once"):
        datasets.read("ferv39k", tmp_path, class_order=order[:-1])


def test_afew_official_reads_aligned_faces_where_they_are(tmp_path):
    dataset = datasets.read("afew", trees.afew_official(tmp_path))
    assert not dataset.cropped
    assert dataset.test_split == "val"
    assert labels(dataset, "val")["000006280"] == "anger"
    trees.afew_official(tmp_path, aligned=True)
    aligned = datasets.read("afew", tmp_path)
    assert aligned.cropped
    assert all_there(aligned)
    assert labels(aligned, "val") == labels(dataset, "val")
    assert not datasets.read("afew", tmp_path, frames="video").cropped


def test_afew_clips_of_one_name_in_both_parts_have_their_own_faces(tmp_path):
    trees.afew_official(tmp_path, aligned=True)
    for path in (tmp_path / "Val_AFEW").rglob("000006280*"):
        path.rename(path.with_name(path.name.replace("6280", "1240")))
    dataset = datasets.read("afew", tmp_path)
    for split, part in (("train", "Train_AFEW"), ("val", "Val_AFEW")):
        (same,) = [clip for clip in dataset.select(split) if clip.path.name == "000001240"]
        assert same.id == f"{part}/AlignedFaces_LBPTOP_Points/Faces/000001240"


def test_afew_in_the_form_of_the_official_code(tmp_path):
    dataset = datasets.read("afew", trees.afew_emoclip(tmp_path))
    assert dataset.layout == "EmoCLIP's AFEW_Face"
    assert labels(dataset, "val")["3_2_0010343200"] == "happiness"
    assert len(dataset.select("train")) == 7


def test_afew_passes_over_what_systems_leave_in_folders(tmp_path):
    trees.afew_emoclip(tmp_path / "a")
    trees.afew_official(tmp_path / "b")
    for folder in ("a/AFEW_Face/train/Anger", "b/Val_AFEW/Angry"):
        (tmp_path / folder / "Thumbs.db").write_bytes(b"")
    assert [len(datasets.read("afew", tmp_path / name).clips) for name in "ab"] == [14, 14]


def test_afew_folder_that_is_no_class_is_refused(tmp_path):
    trees.afew_emoclip(tmp_path)
    trees.frame_folder(tmp_path / "AFEW_Face/validation/Bored/1")
    with pytest.raises(InputError, match="Bored: is not one of AFEW's classes"):
        datasets.read("afew", tmp_path)


# The published lists: first and last line of each, checked by eye against the class orders of datasets.md.
REAL_LISTS = [
    ("mafw", "MAFW_set_1_test", 200, "00025", "anger", "03237", "disappointment"),
    ("mafw", "MAFW_set_1_train", 200, "03747", "anger", "20009", "disappointment"),
    ("dfew", "DFEW_set_1_test", 200, "00001", "sadness", "04342", "surprise"),
    ("dfew", "DFEW_set_1_train", 200, "02522", "disgust", "16372", "fear"),
    ("ferv39k", "FERV39K_test", 200, "0015", "happiness", "0004", "fear"),
]


@pytest.mark.parametrize(("name", "file", "count", "first", "first_label", "last", "last_label"), REAL_LISTS)
def test_published_lists(shared, tmp_path, name, file, count, first, first_label, last, last_label):
    shutil.copy(shared / "annotations" / f"dferclip_{file}.sample.txt", tmp_path / f"{file}.txt")
    dataset = datasets.read(name, tmp_path)
    assert len(dataset.clips) == count
    assert (dataset.clips[0].path.name, dataset.clips[0].label) == (first, first_label)
    assert (dataset.clips[-1].path.name, dataset.clips[-1].label) == (last, last_label)
    assert any("none of the clips is there" in note for note in dataset.notes)
    assert not any("/data/EECS" in str(clip.path) for clip in dataset.clips)


def test_frames_that_were_chosen_and_are_not_there_are_looked_for_nowhere_else(tmp_path):
    root = trees.dfew_official(tmp_path)
    dataset = datasets.read("dfew", root, frames="Clip/clip_224x224_16f")
    assert "none of the clips is there: looked for Clip/clip_224x224_16f/ID" in dataset.notes


def test_the_same_published_clip_is_anger_in_both_orders(shared, tmp_path):
    shutil.copy(
        shared / "annotations/dferclip_MAFW_set_1_train.sample.txt", tmp_path / "MAFW_set_1_train.txt"
    )
    # MAFW's own label file says that clip 03747 is anger (datasets.md): index 3 here, 0 in EmoCLIP's order.
    assert labels(datasets.read("mafw", tmp_path))["03747"] == "anger"
    text = (tmp_path / "MAFW_set_1_train.txt").read_text()
    reordered = [
        f"{line.rsplit(' ', 1)[0]} {mafw.CLASSES.index(mafw.DFERCLIP_ORDER[int(line.rsplit(' ', 1)[1])])}"
        for line in text.splitlines()
    ]
    assert reordered[0].endswith("/03747 105 0")
    (tmp_path / "MAFW_set_1_train.txt").write_text("\n".join(reordered))
    assert labels(datasets.read("mafw", tmp_path, class_order=mafw.CLASSES))["03747"] == "anger"


def test_another_data_set_is_named(tmp_path):
    trees.dfew_lists(tmp_path)
    with pytest.raises(InputError, match="holds dfew, not mafw"):
        datasets.read("mafw", tmp_path)
    with pytest.raises(InputError, match="does not hold AFEW in a known layout; looked for Val_AFEW"):
        datasets.read("afew", tmp_path / "DFEW_Frame_Face")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("/their/DFEW_Frame_Face/00001 6 9", "class index 9 does not fit 7 classes"),
        ("/their/DFEW_Frame_Face/00001 six 1", "is not 'folder frames label'"),
        ("00001", "is not 'folder frames label'"),
        ("/their/DFEW_Frame_Face/abc 6 1", "'abc' is no clip of DFEW"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, match):
    trees.write(tmp_path / "DFEW_set_1_test.txt", f"/their/DFEW_Frame_Face/00002 6 0\n{line}\n")
    with pytest.raises(InputError, match=f"DFEW_set_1_test.txt:2: .*{match}"):
        datasets.read("dfew", tmp_path)


@pytest.mark.parametrize(("usual", "odd"), [(range(1, 8), 0), (range(7), 7)])
def test_the_row_that_counts_otherwise_than_most_is_named(tmp_path, usual, odd):
    for fold in (1, 2):
        rows = [f"/their/DFEW_Frame_Face/{index + 1:05d} 6 {index}" for index in usual] + ["/x/00009 6 1"]
        rows += [f"/x/00010 6 {odd}"] * (fold == 1)
        trees.write(tmp_path / f"DFEW_set_{fold}_test.txt", "\n".join([*rows, f"/x/00011 6 {7 - odd}"]))
    with pytest.raises(InputError, match=f"DFEW_set_1_test.txt:9: class index {odd} does not fit"):
        datasets.read("dfew", tmp_path)


def test_a_layout_that_is_none_names_those_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match="--layout dferclip: AFEW has none of that name, only official, emoclip"
    ):
        datasets.read("afew", tmp_path, layout="dferclip")
    trees.dfew_official(tmp_path)
    with pytest.raises(InputError) as caught:
        datasets.read("dfew", tmp_path, layout="emoclip")
    assert str(caught.value) == (
        f"{tmp_path}: does not hold DFEW in the emoclip layout but in official; looked for DFEW_set_1_test.txt"
    )
    with pytest.raises(ConfigError, match="--layout foo: is not one of official, emoclip, dferclip"):
        datasets.read("dfew", tmp_path, layout="foo")


@pytest.mark.parametrize("name", ["DFEW_set_1_test.txt", "MAFW_set_1_test.txt", "FERV39K_test.txt"])
def test_empty_lists_are_said(tmp_path, name):
    trees.write(tmp_path / name, "\n\n")
    dataset = datasets.read(name.split("_")[0].lower(), tmp_path)
    with pytest.raises(InputError, match=r"no split 'test'; .* has no splits"):
        dataset.select("test")


def test_labels_outside_the_set_are_named(tmp_path):
    trees.mafw_emoclip(tmp_path)
    path = tmp_path / "Train_Test_Set/single/no_caption_new/set_1/test.txt"
    trees.write(path, "00025.mp4\tboredom\n")
    with pytest.raises(
        InputError, match=r"set_1/test.txt:1: label 'boredom' is not one of this set's classes"
    ):
        datasets.read("mafw", tmp_path)
    trees.write(path, "00025.mp4\tanger_fear\n")
    with pytest.raises(InputError, match="compound, in a list of single labels; pass --compound"):
        datasets.read("mafw", tmp_path)


def test_list_that_is_neither_utf8_nor_gbk_is_refused(tmp_path):
    trees.mafw_emoclip(tmp_path)
    (tmp_path / "Train_Test_Set/single/no_caption_new/set_1/test.txt").write_bytes(
        b"00025.mp4\tanger\t\xff\xff\xfe"
    )
    with pytest.raises(InputError, match="neither UTF-8 nor GBK"):
        datasets.read("mafw", tmp_path)


def test_options_that_do_not_apply_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'mfaw' is not one of mafw, dfew"):
        datasets.read("mfaw", tmp_path)
    with pytest.raises(ConfigError, match="dfew has no compound set"):
        datasets.read("dfew", tmp_path, compound=True)
    with pytest.raises(InputError, match="is no folder"):
        datasets.read("dfew", tmp_path / "nowhere")


def test_absent_split_or_fold_is_said(tmp_path):
    dataset = datasets.read("ferv39k", trees.ferv39k(tmp_path, "official"))
    with pytest.raises(InputError, match="no split 'val'; ferv39k has train, test"):
        dataset.select("val")
    with pytest.raises(InputError, match="no fold 2; ferv39k has no folds"):
        dataset.select("test", 2)
