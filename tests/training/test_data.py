"""From clips to batches: what is kept, what is said, what is seen; the same whoever asks."""

import csv
import importlib
import re
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from clips import CAPTIONS, CLASSES, TINY, make_clips  # noqa: E402

from emoclip import datasets  # noqa: E402
from emoclip.datasets import Clip  # noqa: E402
from emoclip.datasets.check import check  # noqa: E402
from emoclip.errors import ConfigError, InputError  # noqa: E402
from emoclip.model import PixelSpec, paper_window, prepare  # noqa: E402
from emoclip.training.crops import (  # noqa: E402
    PLAIN,
    View,
    drift,
    read_crops,
    turned,
)
from emoclip.training.data import (  # noqa: E402
    Draw,
    EpochBatches,
    TrainingClips,
    batches,
    check_batch,
    view_pixels,
    workers_of,
)
from emoclip.training.describe import describe  # noqa: E402
from emoclip.training.mesh import WEB_FACES, read_measures  # noqa: E402
from emoclip.training.mini.faces import MEASURES  # noqa: E402
from emoclip.training.recipe import load_recipe  # noqa: E402
from emoclip.training.samples import choose_samples, class_counts, source_groups  # noqa: E402

GREY = PixelSpec(48, "grey", (0.5,), (0.25,), "bilinear-antialias", 0.0)


def tiny(*settings):
    return load_recipe("smoke", (*TINY, "data.file=''", "data.measures=''", *settings))


def rewritten(manifest, change):
    rows = [change(row) for row in csv.DictReader(manifest.open())]
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


# ---- which frames


def test_every_stride_th_frame_is_read(tmp_path):
    make_clips(tmp_path, count=1, frames=7)
    clip = Clip("clip000", tmp_path / "clip000")
    every = read_crops(clip, 1)
    assert len(every) == 7
    assert [np.array_equal(a, b) for a, b in zip(read_crops(clip, 3), every[::3], strict=True)] == [True] * 3


# ---- how they are seen


def test_the_pixels_are_the_one_pixel_paths(tmp_path):
    make_clips(tmp_path, count=1)
    clip = Clip("clip000", tmp_path / "clip000")
    plain = view_pixels(clip, PLAIN, tiny(), GREY)
    np.testing.assert_array_equal(plain, prepare(read_crops(clip, 1), GREY))
    window = view_pixels(clip, PLAIN, tiny("clips.frames=9"), GREY, start=0.99)
    np.testing.assert_array_equal(window, plain[paper_window(7, 9, 6)])


def test_a_whole_clip_is_turned_alike():
    crop = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    first, second = turned([crop, crop], View(angle_deg=5.0, mirrored=True))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(turned([crop], View(mirrored=True))[0], crop[:, ::-1])
    np.testing.assert_array_equal(turned([crop], PLAIN)[0], crop)


def test_rotation_turns_counterclockwise_about_the_centre():
    crop = np.zeros((49, 49, 3), np.uint8)
    crop[24, 40] = 255  # right of the centre
    up = turned([crop], View(angle_deg=90.0))[0]
    assert np.unravel_index(up[..., 0].argmax(), (49, 49)) == (8, 24)


def test_a_still_picture_drifts_smoothly():
    crop = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    frames = drift(crop, 8, 0.1, np.random.default_rng(1))
    again = drift(crop, 8, 0.1, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
    assert len(frames) == 8
    assert not np.array_equal(frames[0], frames[4])


# ---- which clips, which words


def test_held_out_is_a_share_of_every_class_and_disjoint(tmp_path):
    samples = choose_samples(tiny(), make_clips(tmp_path, count=24, test=6))
    train, held, test = ({s.clip.id for s in part} for part in (samples.train, samples.held, samples.test))
    assert (len(train), len(held), len(test)) == (18, 6, 6)
    assert not train & held
    assert not (train | held) & test
    assert class_counts(samples.held, samples.classes) == dict.fromkeys(CLASSES, 2)


def test_clips_of_one_subject_stay_together(tmp_path):
    manifest = make_clips(tmp_path, count=24)
    rewritten(manifest, lambda row: row | {"subject": f"s{int(row['path'][4:]) // 4}"})
    samples = choose_samples(tiny(), manifest)
    assert samples.held
    assert not {s.clip.subject for s in samples.train} & {s.clip.subject for s in samples.held}


def one_subject_each(manifest, name):
    return rewritten(manifest, lambda row: row | {"subject": name(int(row["path"][4:]))})


def test_pictures_in_a_manifest_stay_with_their_subject_and_with_their_like(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    pyarrow = importlib.import_module("pyarrow")
    random = np.random.default_rng(0)

    def picture(pixels):
        return cv2.imencode(".png", pixels)[1].tobytes()

    pixels = random.integers(0, 256, (60, 48, 48), np.uint8)
    pixels[40] = pixels[5]  # of subjects 10 and 1
    rows = {
        "path": [f"{n}.png" for n in range(60)],
        "label": [CLASSES[n % 3] for n in range(60)],
        "subject": [None if n >= 52 else f"s{n // 4}" for n in range(60)],
        "image": [picture(each) if n != 7 else None for n, each in enumerate(pixels)],
    }
    pq.write_table(pyarrow.table(rows), tmp_path / "clips.parquet")
    (tmp_path / "7.png").write_bytes(picture(pixels[7]))
    groups = source_groups(datasets.read("manifest", tmp_path / "clips.parquet").clips)
    for number in range(13):
        assert len(set(groups[4 * number : 4 * number + 4])) == 1
    assert groups[40] == groups[5]
    assert len(set(groups)) == 12 + 8
    for seed in range(5):
        recipe = tiny("data.text=classes", f"loop.seed={seed}")
        samples = choose_samples(recipe, tmp_path / "clips.parquet")
        trained, held = ({s.clip.subject for s in part} - {None} for part in (samples.train, samples.held))
        assert held
        assert not trained & held


def test_another_share_than_was_asked_for_is_told(tmp_path):
    manifest = one_subject_each(make_clips(tmp_path, count=24), lambda number: f"s{number // 12}")
    (note,) = choose_samples(tiny("selection.held_out=0.1"), manifest).notes
    assert note.startswith(
        "12 of 24 clips are held out where selection.held_out=0.1 asks for 3: clips of one "
    )
    assert choose_samples(tiny("selection.held_out=0.5"), manifest).notes == ()


def test_clips_of_one_subject_alone_are_told_as_that(tmp_path):
    manifest = one_subject_each(make_clips(tmp_path, count=24), lambda number: "p1")
    with pytest.raises(InputError) as caught:
        choose_samples(tiny(), manifest)
    assert str(caught.value).startswith(f"{manifest}: its column subject is 'p1' in all 24 clips")
    assert "selection.select=last" in str(caught.value)
    few = make_clips(tmp_path / "few", count=3)
    with pytest.raises(InputError, match=r"clips\.csv: 3 clips are too few to hold 10% of them out"):
        choose_samples(tiny("selection.held_out=0.1"), few)


def test_a_home_that_is_not_there_is_a_data_set_that_is_not_there():
    with pytest.raises(InputError, match=r"^~nobody-of-this-name/m.csv: no such manifest"):
        choose_samples(tiny(), "~nobody-of-this-name/m.csv")


def test_clips_without_a_caption_are_left_out_and_named(tmp_path):
    manifest = make_clips(tmp_path, count=24)
    rewritten(
        manifest,
        lambda row: row | {"caption": " " if row["path"] in ("clip003", "clip007") else row["caption"]},
    )
    samples = choose_samples(tiny(), manifest)
    assert len(samples.train) + len(samples.held) == 22
    assert samples.notes == ("2 of 24 clips have no caption and are left out: clip003, clip007",)
    mixed = choose_samples(tiny("data.text=mixed"), manifest)
    assert len(mixed.train) + len(mixed.held) == 24


def test_what_a_data_set_says_of_itself_is_told(tmp_path):
    manifest = rewritten(
        make_clips(tmp_path, count=24), lambda row: row | {"participant": "p", "subjects": "s"}
    )
    assert choose_samples(tiny(), manifest).notes == (
        "columns not used: participant, subjects (did you mean subject?)",
    )


@pytest.mark.parametrize(
    ("splits", "used"),
    [(("train", "val", "test"), "train or test"), (("train", "val", "old"), "train or val")],
)
def test_clips_of_a_split_that_is_not_used_are_counted(tmp_path, splits, used):
    each = [*splits, ""]
    manifest = rewritten(
        make_clips(tmp_path, 8, 1), lambda row: row | {"split": each[int(row["path"][4:]) % 4]}
    )
    rest = next(split for split in each if split not in used)
    told = f"4 clips not of the split {used}, so not used by a run: {rest} (2), without a split (2)"
    assert told in choose_samples(tiny("data.text=classes", "selection.select=last"), manifest).notes
    assert told in check(datasets.read("manifest", manifest)).remarks


def test_clips_without_a_split_are_counted_where_nothing_is_tested_on(tmp_path):
    manifest = rewritten(
        make_clips(tmp_path, 8, 1), lambda row: row | {"split": "train" if row["path"] < "clip006" else ""}
    )
    told = "2 clips not of the split train, so not used by a run: without a split (2)"
    assert told in check(datasets.read("manifest", manifest)).remarks


def test_rows_of_one_clip_give_it_several_captions(tmp_path):
    manifest = make_clips(tmp_path, count=24)
    with manifest.open("a") as file:
        file.write("clip003,anger,another thing seen,train\n")
    samples = choose_samples(tiny(), manifest)
    captions = {s.clip.id: s.captions for s in (*samples.train, *samples.held)}
    assert len(captions) == 24
    assert captions["clip003"][1:] == ("another thing seen",)


def test_no_captions_at_all_is_an_error_with_a_way_out(tmp_path):
    manifest = make_clips(tmp_path, captions=False)
    with pytest.raises(InputError, match=r"no clip has a caption; pass --set data\.text=classes"):
        choose_samples(tiny(), manifest)


def table_of_measures(path, names, value=lambda row, name: 0.3, columns=("path", *MEASURES)):
    rows = [
        {"path": name, **{m: value(number, m) for m in MEASURES}, "found": True}
        for number, name in enumerate(names)
    ]
    table = {column: [row[column] for row in rows] for column in columns}
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        importlib.import_module("pyarrow.parquet").write_table(pyarrow.table(table), path)
        return path
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*table.values(), strict=True)])
    return path


def measured(manifest, name, *settings):
    return choose_samples(
        tiny(f"data.file={manifest.name}", f"data.measures={name}", *settings), manifest.parent
    )


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_measures_are_read_and_compared_as_describe_does(tmp_path, name):
    manifest, random = make_clips(tmp_path, captions=False), np.random.default_rng(0)
    names = [f"clip{number:03d}" for number in range(20)]
    table = table_of_measures(tmp_path / name, names, lambda row, measure: float(random.normal()))
    samples = measured(manifest, name)
    assert samples.notes[0] == f"20 of 24 clips have face-mesh measures in {name}"
    described = {s.clip.id: s.captions for s in (*samples.train, *samples.held)}
    assert set(described) == set(names)
    rows = read_measures(table)[2]
    assert described["clip003"] == tuple(describe(rows[3], WEB_FACES, 4, seed=zlib.crc32(b"clip003")))


def test_faces_that_are_not_trained_on_do_not_change_the_captions(tmp_path):
    manifest, random = make_clips(tmp_path, captions=False), np.random.default_rng(0)
    names = [f"clip{number:03d}" for number in range(24)]
    rows = random.normal(size=(324, len(MEASURES)))

    def captions(name, names):
        table_of_measures(
            tmp_path / name, names, lambda row, measure: float(rows[row, MEASURES.index(measure)])
        )
        return {s.clip.id: s.captions for s in measured(manifest, name).train}

    others = [f"other{number}" for number in range(300)]
    assert captions("alone.csv", names) == captions("beside.csv", names + others) != {}


def test_measures_of_no_face_raise_no_warning_of_numpys(tmp_path):
    manifest = make_clips(tmp_path, captions=False)
    names = [f"clip{number:03d}" for number in range(24)] + [f"other{number}" for number in range(300)]
    odd = {"mouth_open": 0.1, "jaw_drop": 3e38}
    random = np.random.default_rng(0)

    def value(row, name):
        if name == "brow_gap":
            return float("inf") if row == 3 else float((-1) ** row * 3e38)
        return odd.get(name, float(random.normal()))

    table_of_measures(tmp_path / "m.csv", names, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = measured(manifest, "m.csv")
    assert samples.notes[0].startswith("23 of 24 clips have face-mesh measures")


@pytest.mark.parametrize(
    ("names", "value", "told"),
    [
        ([], 0.3, r"m\.csv: has no rows"),
        (
            ["a.png"],
            0.3,
            r"m\.csv: none of its 1 paths is that of a clip \(its first is a\.png, the first clip's clip000\); write",
        ),
        (
            ["clip000"],
            float("nan"),
            r"m\.csv: each of the 1 clips in it lacks a measure .* the first is clip000",
        ),
    ],
)
def test_measures_of_no_clip_are_refused(tmp_path, names, value, told):
    manifest = make_clips(tmp_path)
    table_of_measures(tmp_path / "m.csv", names, lambda row, name: value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=told):
            measured(manifest, "m.csv")


@pytest.mark.parametrize("gone", ["path", "gaze_left"])
def test_a_table_without_a_column_names_it(tmp_path, gone):
    columns = tuple(name for name in ("path", *MEASURES) if name != gone)
    table_of_measures(tmp_path / "m.parquet", ["clip000"], columns=columns)
    with pytest.raises(
        InputError, match=rf"m\.parquet: has no column '{gone}'; it needs path and mouth_open"
    ):
        measured(make_clips(tmp_path / "data"), tmp_path / "m.parquet")


def test_a_damaged_table_of_measures_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"m\.parquet: is not a readable table of measures"):
        measured(make_clips(tmp_path / "data"), tmp_path / "m.parquet")


def test_one_class_only_teaches_class_sentences_nothing(tmp_path):
    manifest = rewritten(make_clips(tmp_path), lambda row: row | {"label": "anger"})
    with pytest.raises(InputError, match=r"every clip is of one class \(anger\)"):
        choose_samples(tiny("data.text=classes"), manifest)
    assert choose_samples(tiny(), manifest).train  # captions still do


def test_missing_files_are_left_out_and_named_and_none_at_all_is_an_error(tmp_path):
    manifest = make_clips(tmp_path)
    (tmp_path / "clip002").rename(tmp_path / "moved")
    assert "1 of 24 clips do not exist and are left out: clip002" in choose_samples(tiny(), manifest).notes
    rewritten(manifest, lambda row: row | {"path": "gone/" + row["path"]})
    with pytest.raises(InputError, match="none of the 24 listed clips exists"):
        choose_samples(tiny(), manifest)


def test_the_same_clip_in_train_and_test_is_refused(tmp_path):
    manifest = make_clips(tmp_path, count=6, test=3)
    text = manifest.read_text() + "clip006,anger,angry,train\n"
    manifest.write_text(text)
    with pytest.raises(InputError, match="1 clip in both the training and the test part"):
        choose_samples(tiny(), manifest)


def test_a_class_left_out_is_not_trained_on_but_tested(tmp_path):
    samples = choose_samples(tiny("data.leave_out=angry"), make_clips(tmp_path, count=24, test=6))
    assert class_counts(samples.train, samples.classes)["anger"] == 0
    assert class_counts(samples.test, samples.classes)["anger"] == 2
    with pytest.raises(ConfigError, match="'bored' is not one of"):
        choose_samples(tiny("data.leave_out=bored"), make_clips(tmp_path / "b"))


def test_a_manifest_with_two_names_of_one_class_is_refused_unless_labels_name_one(tmp_path):
    manifest = rewritten(
        make_clips(tmp_path), lambda row: row | ({"label": "joy"} if row["path"] == "clip001" else {})
    )
    with pytest.raises(InputError, match=r"clips\.csv: 'happiness' and 'joy' are names of one class; give a"):
        choose_samples(tiny(), manifest)
    chosen = choose_samples(tiny("data.labels=['anger', 'happiness', 'surprise']"), manifest)
    assert {sample.label for sample in chosen.train if sample.clip.label == "joy"} <= {1}


def test_test_clips_without_a_label_are_told(tmp_path):
    manifest = rewritten(
        make_clips(tmp_path, test=3), lambda row: row | ({"label": ""} if row["path"] == "clip024" else {})
    )
    chosen = choose_samples(tiny(), manifest)
    assert len(chosen.test) == 2
    assert "1 of 3 test clips have no known label and are not scored" in chosen.notes


def test_a_fold_that_is_not_there_is_refused(tmp_path):
    manifest = make_clips(tmp_path)
    assert choose_samples(tiny("data.fold=1"), manifest).train
    with pytest.raises(InputError, match=r"no fold 3; manifest has no folds here"):
        choose_samples(tiny("data.fold=3"), manifest)


def test_training_on_all_leaves_nothing_to_test_on(tmp_path):
    samples = choose_samples(tiny("data.split=all"), make_clips(tmp_path, count=24, test=6))
    assert len(samples.train) + len(samples.held) == 30
    assert not samples.test


def test_a_fold_of_mafw_is_read_with_its_captions(tmp_path):
    from trees import MAFW, mafw_emoclip, mafw_official

    from emoclip.training.samples import with_faces

    recipe = load_recipe("mafw-captions", ["selection.select=last", "data.fold=2"])
    crops = choose_samples(recipe, mafw_emoclip(tmp_path / "crops"))
    scenes = choose_samples(recipe, mafw_official(tmp_path / "scenes"))
    for samples in (crops, scenes):
        train, test = ({Path(s.clip.id).stem: s for s in part} for part in (samples.train, samples.test))
        assert set(train) | set(test) == set(MAFW)
        assert not set(train) & set(test)
        name = next(iter(train))
        assert (train[name].captions, samples.classes[train[name].label]) == ((MAFW[name][2],), MAFW[name][0])
    assert with_faces(recipe, crops.dataset).data.faces == "full"
    assert with_faces(recipe, scenes.dataset).data.faces == "largest"


# ---- batches


def clips_of(tmp_path, *settings, count=24):
    from emoclip.training.assembly import word_tokenizer
    from emoclip.training.data import said

    recipe = tiny(*settings)
    samples = choose_samples(recipe, make_clips(tmp_path, count=count))
    tokenizer = word_tokenizer(said(samples.train, samples.sentences, recipe))
    return TrainingClips(samples.train, samples.sentences, recipe, GREY, tokenizer), samples


def labels(samples):
    return [sample.label for sample in samples.train]


def test_a_batch_does_not_depend_on_workers_or_on_what_came_before(tmp_path):
    clips, samples = clips_of(tmp_path)
    alone = list(batches(clips, EpochBatches(labels(samples), clips.recipe, 1)))
    resumed = list(batches(clips, EpochBatches(labels(samples), clips.recipe, 1, first=1)))
    assert len(alone) == 2  # 18 clips in batches of 8: the last two wait for another epoch
    torch.testing.assert_close(resumed[0].video, alone[1].video, rtol=0, atol=0)
    torch.testing.assert_close(resumed[0].text, alone[1].text, rtol=0, atol=0)
    other, _ = clips_of(tmp_path / "w", "loop.workers=2")
    with_workers = list(batches(other, EpochBatches(labels(samples), other.recipe, 1)))
    torch.testing.assert_close(with_workers[0].video, alone[0].video, rtol=0, atol=0)


def test_more_workers_than_cores_are_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr("emoclip.training.data.cores", lambda: 3)
    assert [workers_of(tiny(f"loop.workers={count}")) for count in (0, 2, 3, 200)] == [0, 2, 3, 3]
    monkeypatch.undo()
    clips, samples = clips_of(tmp_path, "loop.workers=200")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(iter(batches(clips, EpochBatches(labels(samples), clips.recipe, 0))))


def test_two_processes_share_the_batch_of_one(tmp_path):
    clips, samples = clips_of(tmp_path)
    whole = next(iter(EpochBatches(labels(samples), clips.recipe, 0)))
    shares = [
        next(iter(EpochBatches(labels(samples), clips.recipe, 0, rank=rank, world=2))) for rank in (0, 1)
    ]
    assert shares[0] + shares[1] == whole
    with pytest.raises(InputError, match="does not divide over 3 processes"):
        EpochBatches(labels(samples), clips.recipe, 0, world=3)


@pytest.mark.parametrize(
    ("batch", "count", "world", "told"),
    [
        (2, 1, 1, "1 clip to train on; add clips, 2 at least"),
        (4, 3, 1, "3 clips to train on; pass --set loop.batch=2, or add clips"),
        (8, 3, 4, "3 clips to train on; add clips, 4 at least"),
        (16, 13, 4, "13 clips to train on; pass --set loop.batch=4, or add clips"),
        (6, 13, 4, "does not divide over 4 processes"),
    ],
)
def test_a_batch_that_cannot_be_is_told_with_what_can(batch, count, world, told):
    with pytest.raises(InputError, match=re.escape(told)):
        check_batch(batch, count, world)


def test_a_batch_larger_than_the_set_is_told_with_a_size_that_works(tmp_path):
    clips, samples = clips_of(tmp_path, "loop.batch=64")
    with pytest.raises(InputError, match=r"loop\.batch=64 is larger than .*, 18 clips .*--set loop\.batch=9"):
        EpochBatches(labels(samples), clips.recipe, 0)


def test_epochs_differ_and_each_shows_every_clip_at_most_once(tmp_path):
    clips, samples = clips_of(tmp_path, "loop.batch=6")
    orders = [EpochBatches(labels(samples), clips.recipe, epoch).order.tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(18))


def test_balance_draws_rare_classes_as_often():
    recipe = tiny("data.balance=1", "loop.batch=8")
    order = EpochBatches([0] * 900 + [1] * 100, recipe, 0).order
    assert 0.4 < np.mean(order >= 900) < 0.6


def test_balance_leaves_clips_without_a_label_their_share():
    recipe = tiny("data.balance=1", "loop.batch=8")
    order = EpochBatches([0] * 8000 + [1] * 1000 + [None] * 1000, recipe, 0).order
    assert np.mean(order >= 9000) == pytest.approx(0.1, abs=0.015)
    assert np.mean((order >= 8000) & (order < 9000)) == pytest.approx(0.45, abs=0.025)
    assert len(EpochBatches([None] * 20, recipe, 0).order) == 20


def test_a_broken_clip_is_named_from_a_worker_too(tmp_path):
    clips, samples = clips_of(tmp_path, "loop.workers=1")
    victim = samples.train[3].clip
    for frame in victim.path.iterdir():
        frame.write_bytes(b"no picture")
    with pytest.raises(InputError, match=victim.path.name) as caught:
        list(batches(clips, EpochBatches(labels(samples), clips.recipe, 0)))
    assert "\n" not in str(caught.value)


def test_captions_classes_and_mixed_say_what_they_should(tmp_path):
    clips, samples = clips_of(tmp_path, "data.text=mixed", "data.caption_share=0.5")
    sample = samples.train[0]
    said = {clips.sentence(sample, Draw.of(0, 0, place), False) for place in range(40)}
    name = CLASSES[sample.label]
    assert said == {sample.captions[0], *samples.sentences[sample.label]}
    assert sample.captions[0] in CAPTIONS[name]


def test_sides_change_with_the_mirror_only_where_captions_were_measured(tmp_path):
    clips, _ = clips_of(tmp_path)
    anger = next(s for s in clips.samples if "left" in s.captions[0])
    draw = Draw.of(0, 0, 0)
    assert "left" in clips.sentence(anger, draw, True)
    measured = TrainingClips(clips.samples, clips.sentences, tiny("data.measures=x"), GREY, clips.tokenizer)
    assert "right" in measured.sentence(anger, draw, True)
    assert "left" in measured.sentence(anger, draw, False)


def test_the_real_crops_get_sentences_from_their_measures(shared):
    samples = choose_samples(load_recipe("smoke", ["data.limit=400"]), shared / "faces")
    assert len(samples.train) + len(samples.held) == 400
    assert len(samples.test) == 3266
    described = [sample for sample in samples.train if sample.captions]
    assert len(described) > 0.9 * len(samples.train)
    assert samples.classes == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert samples.sentences[0][0].startswith("an angry face")
