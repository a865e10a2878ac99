"""What commands print as a table fits 80 columns, wide characters counted, and nothing of it is cut off."""

import csv
import io
import re
import shutil
import sys
import unicodedata

import commands
import numpy as np
import pytest
import trees
from packages import tiny_package
from PIL import Image

from emoclip import cli
from emoclip.cli.console import progress_bars

NAME = "a model with the longest name that anybody would give to a model of faces, and a bit"
LONG = "ein sehr langes Wort für ein Gefühl"
WIDE = "とても悲しい顔をしている人がここにいますよねそうですよね"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("models") / "long", name=NAME))


@pytest.fixture
def emoclip(monkeypatch, capsys, tmp_path):
    """Run a command in this process, in a folder of its own, and look at every line of its stdout."""
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(*arguments, sentences=(), code=0):
        monkeypatch.setattr(sys, "argv", ["emoclip", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        assert (stopped.value.code or 0) == code, shown.err
        lines = shown.out.splitlines()
        wide = [line for line in lines if columns(line) > 80 and not line.startswith(tuple(sentences))]
        assert not wide, wide
        assert "…" not in shown.out
        return "".join(line.strip() for line in lines)  # a name that was folded is whole again

    return run


def columns(line):
    """How many columns of a terminal a line takes."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in line
    )


def test_predict(emoclip, media):
    out = emoclip(
        "predict", media / "multi_face.jpg", "-l", f"happy, {LONG}, {WIDE}", "--scores", sentences="/"
    )
    assert all(word in out for word in LONG.split())


def test_a_bar_and_its_figure_stay_in_one_line_and_so_do_names(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save("two\nlines.png")
    labels = "about to burst into tears of joy, a\tb"
    monkeypatch.setattr(
        sys, "argv", ["emoclip", "predict", "two\nlines.png", "--faces", "full", "-l", labels]
    )
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(r"two\nlines.png")
    assert all(label in "".join(lines) for label in ("about to burst into tears of joy", r"a\tb"))
    assert sum(re.search(r"[01]\.\d\d\s*$", line) is not None for line in lines) == 2
    assert not [line for line in lines if re.search(r"[█#]\s*$", line)]


def test_columns_are_those_of_the_escapes_where_the_encoding_lacks_a_character(tmp_path):
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "a.png")
    done = commands.emoclip(
        *("predict", tmp_path / "a.png", "--faces", "full", "-l", "悲しい, happy", "--scores"),
        env={"COLUMNS": "80"},
        encoding="ascii",
    )
    ends = {len(line.rstrip()) for line in done.stdout.splitlines() if re.search(r"\d\.\d\d", line)}
    assert r"\u60b2\u3057\u3044" in done.stdout
    assert len(ends) == 1, done.stdout


def test_a_narrow_terminal_gets_whole_words_and_no_bars(tmp_path):
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "a.png")
    given = ("predict", tmp_path / "a.png", "--faces", "full", "-l", "about to cry, happy")
    out = commands.emoclip(*given, env={"COLUMNS": "20"}).stdout
    assert re.search(r"^label +prob\.$", out, re.MULTILINE), out
    assert re.search(r"^about to cry +[01]\.\d\d$", out, re.MULTILINE), out


def test_timeline(emoclip, media):
    shutil.copy(media / "single_face.mp4", "talk.mp4")
    emoclip("timeline", "talk.mp4", "-l", f"happy, {LONG}, {WIDE}", "-f", "csv")


def test_models(emoclip, model):
    assert "clip-vit-l-14" in emoclip("models", "list")
    emoclip("models", "show", "mini")
    assert "torch, to make the package" in emoclip("models", "show", "clip-vit-b-32")
    emoclip("models", "show", model)


def test_bench(emoclip, media):
    emoclip("bench", media / "single_face.mp4", "--repeat", 1)


def test_symptoms(emoclip):
    emoclip("symptoms", "scales")


def test_agree(emoclip, tmp_path):
    for coder in ("anna with a very long name that goes on for ever", "ben"):
        with open(tmp_path / f"{coder}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [("onset", "offset", "label"), (1, 4, LONG * 2), (5, 7, WIDE), (8, 9, "smile")]
            )
    codings = sorted(tmp_path.glob("*.csv"))
    emoclip("agree", *codings, "--end", 12, sentences=("Agreement", "Two", "written"))


def test_sets(emoclip, model, tmp_path):
    """The set of most classes, over folds and splits; then scores and wordings of another."""
    large = trees.mafw_official(tmp_path / "mafw")
    out = emoclip("data", "check", "mafw", "--root", large, sentences=("note", "PROBLEM"), code=1)
    assert "disappointment" in out
    root = trees.dfew_lists(tmp_path / "dfew")
    emoclip("evaluate", "dfew", "--root", root, "--model", model, "--out", "e", sentences=(NAME, "report"))
    wordings = ("--prompts", "names", "--prompts", "sentences")
    arguments = ("dfew", "--root", root, "--model", model, "--split", "train")
    emoclip("prompts", "compare", *arguments, *wordings, sentences=("wording",))


@pytest.mark.parametrize(("width", "beside"), [(80, True), (60, True), (50, False), (40, False)])
def test_labels_are_whole_in_a_narrow_terminal(monkeypatch, emoclip, capsys, media, width, beside):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "argv", ["emoclip", "predict", str(media / "single_face.mp4"), "--scores"])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    rows = re.findall(r"^ *(?:\d+ +[\d.-]+ +100% +)?([a-z]+) +[█#]* \d\.\d\d +\d\.\d\d *$", out, re.M)
    assert sorted(rows) == ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
    assert out.count("100% in view") == (not beside)
    assert all(columns(line) <= width for line in out.splitlines())


def test_figures_are_whole_in_a_narrow_terminal(monkeypatch, emoclip, capsys, tmp_path):
    for coder in ("anna", "ben"):
        (tmp_path / f"{coder}.csv").write_text("onset,offset,label\n1,4,smile\n5,7,frown\n", "utf-8")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys, "argv", ["emoclip", "agree", "anna.csv", "ben.csv", "--end", "9"])
    with pytest.raises(SystemExit):
        cli.main()
    smile = capsys.readouterr().out.split("\nsmile", 1)[1].splitlines()[1:7]
    told = [
        "kappa: 1.00",
        "alpha: 1.00",
        "agreement: 1.00",
        "onset F1: 1.00",
        "mean lag: +0.00 s",
        "ICC(2,1): –",
    ]
    assert [line.strip() for line in smile] == told


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["models", "list"], ["licence: ", "bundled"]),
        (["models", "show", "mini"], ["licence\n  Apache-2.0"]),
        (["symptoms", "scales"], ["rates: ", "range: 1 to 7"]),
        (["bench", "MEDIA/single_face.jpg", "--repeat", "1"], ["the rest"]),
    ],
)
def test_no_word_is_broken_in_a_very_narrow_terminal(monkeypatch, emoclip, capsys, media, command, words):
    monkeypatch.setenv("COLUMNS", "34")
    monkeypatch.setattr(sys, "argv", ["emoclip", *(word.replace("MEDIA", str(media)) for word in command)])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert all(word in out for word in words), out


@pytest.mark.parametrize("columns", [40, 80])
def test_a_progress_line_tells_time_spent_before_time_left(columns, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bars() as bars:
        unknown = bars.add_task("2 videos", total=10.0)
        task = bars.tasks[unknown]
        task.start_time = bars.get_time() - 2.5

        def told():
            bars.refresh()
            return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sys.stderr.getvalue()).splitlines()[-1].rstrip()

        assert told().endswith("0:00:02")
        monkeypatch.setattr(type(task), "time_remaining", 32.2)
        assert told().endswith("0% 0:00:02, 0:00:33 left")
        bars.update(unknown, completed=10.0)
        assert told().endswith("100% 0:00:02")
