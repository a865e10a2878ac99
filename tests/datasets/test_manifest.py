import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trees

from emoclip import datasets
from emoclip.datasets import manifest
from emoclip.datasets.check import check
from emoclip.errors import InputError, OutputError
from emoclip.evaluation import make_task


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_manifest(tmp_path, end):
    text = end.join(
        [
            "path,label,caption,fold,split,subject",
            'a/clip.mp4,happy,"smiles, then ""laughs""",1,test,s1',
            "b\\frames,sad,,2,train,",
            "c.jpg,Bored,,1,test,s2",
        ]
    )
    dataset = datasets.read("manifest", trees.write(tmp_path / "m.csv", text, "utf-8-sig"))
    first, second, third = dataset.clips
    assert (first.path, first.caption, first.fold, first.subject) == (
        *(tmp_path / "a/clip.mp4", 'smiles, then "laughs"', 1, "s1"),
    )
    assert (second.id, second.caption, second.split) == ("b/frames", None, "train")
    assert dataset.classes == ("Bored", "happy", "sad")
    assert third.fold == 1


@pytest.mark.parametrize("name", ["manifest", "mafw"])
def test_a_home_that_is_not_there_is_a_folder_that_is_not_there(name):
    with pytest.raises(
        InputError, match=r"^~nobody-of-this-name/set: (no such manifest|is no folder); name "
    ):
        datasets.read(name, "~nobody-of-this-name/set")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Unix alone")
def test_files_are_found_by_their_names_in_every_locale(tmp_path, foreign):
    names = ["søn 笑い.jpg", "b.jpg", "fort ñ.jpg"]
    for name in names[:2]:
        (tmp_path / name).touch()
    trees.write(tmp_path / "m.csv", "path,label\n" + "".join(f"{name},calm\n" for name in names))
    program = (
        "from pathlib import Path; from emoclip import datasets; from emoclip.datasets import manifest\n"
        "from emoclip.datasets.check import check, list_problems\n"
        "dataset = datasets.read('manifest', 'm.csv'); clips = dataset.clips\n"
        "print([clip.path.exists() for clip in clips], *(ascii(clip.id) for clip in clips), sep=';')\n"
        "check(dataset); print(*map(ascii, list_problems(dataset)))\n"
        "manifest.write(clips, Path('again.csv'))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | foreign, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    first, second = done.stdout.decode().splitlines()
    assert first == ";".join(["[True, True, False]", *map(ascii, names)])
    assert ascii(f"1 clip ({names[2]}) missing") in second
    again = datasets.read("manifest", tmp_path / "again.csv")
    assert [(clip.id, clip.path.exists()) for clip in again.clips[:2]] == [(name, True) for name in names[:2]]


def test_words_for_a_subject_that_is_missing_are_nobody(tmp_path):
    names = ["", "NA", "n/a", "NaN", "null", "None", "-", "Nan Li", "s1"]
    rows = "".join(f"{at}.mp4,happy,{name}\n" for at, name in enumerate(names))
    dataset = datasets.read("manifest", trees.write(tmp_path / "m.csv", f"path,label,subject\n{rows}"))
    assert [clip.subject for clip in dataset.clips] == [None] * 7 + ["Nan Li", "s1"]
    columns = {"path": ["a.mp4", "b.mp4"], "label": ["none", "sad"], "subject": [float("nan"), 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    dataset = datasets.read("manifest", tmp_path / "m.parquet")
    assert [(clip.label, clip.subject) for clip in dataset.clips] == [("none", None), ("sad", "2.0")]


def test_parquet_manifest_with_pictures_in_it(tmp_path):
    path = tmp_path / "m.parquet"
    columns = {"path": ["a.jpg", "b.jpg"], "label": ["happy", "sad"], "split": ["val", "val"]}
    pq.write_table(pa.table({**columns, "image": [b"one", b"two"]}), path)
    assert [clip.image for clip in datasets.read("manifest", path).clips] == [b"one", b"two"]
    hub = [{"bytes": b"one", "path": "a.jpg"}, {"bytes": b"two", "path": "b.jpg"}]
    pq.write_table(pa.table({**columns, "image": hub}), path)
    assert [clip.image for clip in datasets.read("manifest", path).clips] == [b"one", b"two"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_found_in_any_case_and_those_that_are_not_used_are_told(tmp_path, ending):
    columns = {"Path": ["a.mp4", "b.mp4"], "label": ["happy", "sad"], "Fold": [1, 2], "SPLIT": ["test"] * 2}
    path = _table(tmp_path / f"m.{ending}", {**columns, "Subject ": ["s1", "s2"]})
    dataset = datasets.read("manifest", path)
    found = [(clip.id, clip.label, clip.fold, clip.split, clip.subject) for clip in dataset.clips]
    assert found == [("a.mp4", "happy", 1, "test", "s1"), ("b.mp4", "sad", 2, "test", "s2")]
    assert (dataset.notes, dataset.test_split) == ((), "test")
    others = {"folds": [1, 2], "subjects": ["s1", "s2"], "participant": ["p", "q"]}
    path = _table(tmp_path / f"n.{ending}", {"path": ["a.mp4", "b.mp4"], "label": ["x", "y"], **others})
    assert datasets.read("manifest", path).notes == (
        "columns not used: folds, subjects, participant (did you mean fold, subject?)",
    )
    path = _table(tmp_path / f"o.{ending}", {"path": ["a.mp4"], "label": ["x"], "Label": ["y"], "age": [3]})
    dataset = datasets.read("manifest", path)
    assert (dataset.classes, dataset.notes) == (("x",), ("columns not used: Label, age",))


def _table(path, columns):
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
        return path
    rows = [",".join(map(str, row)) for row in (columns, *zip(*columns.values(), strict=True))]
    return trees.write(path, "\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("a.mp4,happy", r"m.csv:3: a.mp4 is there twice, first in .*m.csv:2"),
        ("./a.mp4,happy", "a.mp4 is there twice"),
        ("/abs/a.mp4,happy", "the path /abs/a.mp4 is absolute"),
        ("C:\\clips\\a.mp4,happy", "the path C:/clips/a.mp4 is absolute"),
        ("../a.mp4,happy", r"the path ../a.mp4 leaves the manifest's folder"),
        ("x/../../a.mp4,happy", "leaves the manifest's folder"),
        (",happy", "has no path"),
        ("b.mp4,happy,with, comma", "line 3 has 4 cells, the header 2"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, match):
    path = trees.write(tmp_path / "m.csv", f"path,label\na.mp4,sad\n{line}\n")
    with pytest.raises(InputError, match=match):
        datasets.read("manifest", path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\na,b\n", "has no column path, only file, label"),
        ("", "has no column path, only an empty line"),
        ("path,split\na,train\n", "has neither a column label nor caption, only path, split"),
        ("path,label\n", "has no rows"),
        (
            "path,label,caption\na,x,one\nb,x,\n./a,y,two\n",
            r"m.csv:4: a is there twice, first in .*m.csv:2; remove",
        ),
        ("path,caption,subject\na,one,s1\na,two,s2\n", "m.csv:3: a is there twice, first in .*m.csv:2"),
        ("path,caption\na,one\na,one\n", "m.csv:3: a is there twice, first in .*m.csv:2"),
        ("path,label,caption\na,x,one\na,x,\n", "m.csv:3: a is there twice, first in .*m.csv:2"),
        ("path,label,fold\na,b,two\n", "fold 'two' is no number"),
        ("path,label,fold\na,b,0\n", "m.csv:2: fold '0' is no number; folds are 1, 2"),
        ("path,label,fold\na,b,1\nc,b,2\nd,b,\ne,b,1\n", "m.csv:4: has no fold, while other rows have one"),
        ("path,label,fold\na,b,\nc,b,2\n", "m.csv:2: has no fold, while other rows have one"),
        ('path,label\n"a\nb",sad\n', "m.csv:2: its path has a line break or zero byte in it"),
    ],
)
def test_bad_manifests_are_named(tmp_path, text, match):
    with pytest.raises(InputError, match=match):
        datasets.read("manifest", trees.write(tmp_path / "m.csv", text))


def test_subjects_that_are_spelt_alike_are_pointed_at(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,label,subject\na,x,S01\nb,y,s01\nc,x,s2\n")
    told = "S01, s01 are read as different subjects; write a person's name one way"
    assert datasets.read("manifest", path).notes == (told,)


def test_splits_that_differ_in_case_alone_are_pointed_at(tmp_path):
    path = trees.write(tmp_path / "m.csv", "path,label,split\na,happy,test\nb,sad, Test\nc,sad,validation\n")
    dataset = datasets.read("manifest", path)
    assert dataset.splits == ["test", "Test", "validation"]
    assert dataset.notes == ("Test, test are read as different splits; give a split one name",)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ("happy happy", "has one class only, happy; there is nothing to tell apart"),
        ("happy Happy sad", "has the classes Happy, happy; give a class one name"),
        ("happy glad sad", None),
    ],
)
def test_what_cannot_be_scored_is_a_problem_of_the_check_too(tmp_path, labels, why):
    rows = "".join(f"{at},{label}\n" for at, label in enumerate(labels.split()))
    dataset = datasets.read("manifest", trees.write(tmp_path / "m.csv", f"path,label\n{rows}"))
    assert dataset.unscorable == why
    assert (f"m.csv {why}" in check(dataset).problems) is bool(why)
    if why:
        with pytest.raises(InputError, match=f"m.csv: {why}"):
            make_task(dataset)


def test_two_names_of_one_class_are_pointed_at(tmp_path):
    path = trees.write(tmp_path / "m.csv", "path,label\na,happy\nb,Happiness\nc,sad\n")
    assert datasets.read("manifest", path).notes == (
        "Happiness, happy are read as different classes, and `train` refuses them; give a class one name",
    )


def test_no_parquet_and_no_file(tmp_path):
    with pytest.raises(InputError, match="is no readable Parquet file"):
        datasets.read("manifest", trees.write(tmp_path / "m.parquet", "path,label"))
    with pytest.raises(InputError, match="no such manifest"):
        datasets.read("manifest", tmp_path / "absent.csv")


def test_the_same_clip_may_be_in_several_folds_but_not_twice_in_one(tmp_path):
    rows = "path,label,fold,split\na,x,1,test\na,x,2,train\n"
    assert datasets.read("manifest", trees.write(tmp_path / "m.csv", rows)).folds == [1, 2]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_rows_that_differ_in_the_caption_alone_are_one_clip_with_several(tmp_path, name):
    text = "path,label,caption,split\na,x,one,train\nb,,two,train\na,x,three,train\na,x,four,test\n"
    source = datasets.read("manifest", trees.write(tmp_path / "source.csv", text))
    manifest.write(source.clips, tmp_path / name)
    for dataset in (source, datasets.read("manifest", tmp_path / name)):
        assert [(clip.id, clip.split, clip.caption, *clip.further) for clip in dataset.clips] == [
            ("a", "train", "one", "three"),
            ("b", "train", "two"),
            ("a", "test", "four"),
        ]


def test_captions_without_labels_are_no_problem_but_neither_is_one(tmp_path):
    for name in "ab":
        trees.frame_folder(tmp_path / name)
    columns, rows = "path,label,caption", "a,,a broad smile\n"
    report = check(datasets.read("manifest", trees.write(tmp_path / "m.csv", f"{columns}\n{rows}b,,\n")))
    assert report.problems == ["1 clip (b) without a label or a caption"]
    assert "1 clip (a) with a caption alone: can be trained on, not scored" in report.remarks
    captions = trees.write(tmp_path / "c.csv", "path,caption\na,a broad smile\nb,wide eyes\n")
    assert check(datasets.read("manifest", captions)).problems == []


def test_a_test_split_that_cannot_be_scored_is_a_problem(tmp_path):
    for name in "abc":
        trees.frame_folder(tmp_path / name)
    rows = "a,sad,,train\nb,happy,,test\nc,,a broad smile,test\n"
    text = f"path,label,caption,split\n{rows}"
    report = check(datasets.read("manifest", trees.write(tmp_path / "m.csv", text)))
    assert "1 clip (c) of the test split without a label to score against" in report.problems


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_any_data_set_becomes_a_manifest_that_reads_back(tmp_path, name):
    source = datasets.read("mafw", trees.mafw_emoclip(tmp_path))
    manifest.write(source.clips, tmp_path / name)
    back = datasets.read("manifest", tmp_path / name)
    for ours, theirs in zip(source.clips, back.clips, strict=True):
        assert (ours.id, ours.label, ours.caption, ours.fold, ours.split) == (
            *(theirs.id, theirs.label, theirs.caption, theirs.fold, theirs.split),
        )
    with pytest.raises(OutputError, match="--force"):
        manifest.write(source.clips, tmp_path / name)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="must lie in or above the folder of the clips"):
        manifest.write(source.clips, tmp_path / "elsewhere" / name)


def test_real_crops(shared):
    dataset = datasets.read("manifest", shared / "faces/fer2013_trainval.parquet")
    assert len(dataset.select("val")) == 3266
    assert dataset.classes == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert dataset.clips[0].image[:2] == b"\xff\xd8"
