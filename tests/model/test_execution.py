"""Which engine and precision run where, and the one line that says what cannot be had."""

import json

import pytest
from packages import tiny_package

from emoclip.errors import ConfigError, PackageError
from emoclip.files import sha256
from emoclip.model import cpu as processor
from emoclip.model import execution, hub, package
from emoclip.model.cpu import Processor
from emoclip.model.execution import choose
from emoclip.model.runtime import Runtime

MODERN = Processor("Modern", int8=True, bf16=True)
OLD = Processor("Old", int8=False, bf16=False, overflows=True)
ARM = Processor("Arm without dot products", int8=False, bf16=False)
NO_OPENVINO = "OpenVINO is not installed; pip install 'emoclip[fast]'"


@pytest.fixture
def machine(monkeypatch):
    """Set what the machine has: a processor, cores, and OpenVINO of some version or none."""

    def has(processor=MODERN, cores=4, openvino="2026.1.0"):
        def version(name):
            if openvino is None:
                raise execution.PackageNotFoundError(name)
            return openvino

        monkeypatch.setattr(execution, "processor", lambda: processor)
        monkeypatch.setattr(execution, "cores", lambda: cores)
        monkeypatch.setattr(execution, "version", version)

    has()
    return has


def make(
    folder, *, int8=True, greatest_weight=None, form=package.QUANTISED_FORM, precision="fp32", megabytes=20
):
    """A package whose image tower weighs so much, with an 8-bit one or without."""
    folder = tiny_package(folder)
    config = json.loads((folder / "config.json").read_text())
    with open(folder / "image.onnx.data", "wb") as file:
        file.truncate(megabytes * 1_000_000)
    if int8:
        (folder / "image.int8.onnx").write_bytes((folder / "image.onnx").read_bytes())
        config["quantisation"] = {
            "form": form,
            "graph": "image.int8.onnx",
            "greatest_weight": greatest_weight,
        }
    names = [path.name for path in folder.iterdir() if path.name != "config.json"]
    config |= {"precision": precision, "files": {name: sha256(folder / name) for name in names}}
    (folder / "config.json").write_text(json.dumps(config))
    return hub.load(str(folder))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return make(tmp_path_factory.mktemp("packages") / "both")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return make(tmp_path_factory.mktemp("packages") / "narrow", greatest_weight=64)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("packages") / "plain", int8=False)


def test_packages_say_what_they_carry(both, plain):
    assert both.precisions == ("fp32", "bf16", "int8")
    assert plain.precisions == ("fp32", "bf16")
    assert hub.load(package.BUNDLED).precisions == ("int8",)


def test_auto_is_int8_where_package_and_processor_have_it(machine, both, plain):
    chosen = choose(both)
    assert (chosen.engine, chosen.precision, chosen.graph) == ("openvino", "int8", "image.int8.onnx")
    assert (choose(plain).precision, choose(plain).graph) == ("fp32", "image.onnx")
    machine(processor=ARM)
    assert choose(both).precision == "fp32"
    assert "no native 8-bit products" in choose(both).why
    assert choose(both).warnings == choose(plain).warnings == ()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_what_is_asked_for_runs_where_it_can(machine, both, precision):
    assert choose(both, precision=precision).precision == precision
    assert choose(both, precision=precision).warnings == ()


def test_openvino_absent(machine, both):
    machine(openvino=None)
    assert choose(both).engine == "onnxruntime"
    assert choose(both).precision == "int8"
    assert choose(both).warnings == ()
    asked = choose(both, precision="bf16")
    assert asked.precision == "fp32"
    assert asked.warnings == (f"precision=bf16: {NO_OPENVINO}; runs as fp32",)
    with pytest.raises(ConfigError, match=r"emoclip\[fast\]"):
        choose(both, engine="openvino")


def test_openvino_too_old_is_passed_over_and_said(machine, both):
    machine(openvino="2023.3.0")
    chosen = choose(both)
    assert chosen.engine == "onnxruntime"
    assert len(chosen.warnings) == 1
    assert "2023.3.0" in chosen.warnings[0]


def test_old_processor_falls_back_in_one_line(machine, both):
    chosen = choose(both, precision="bf16", machine=OLD)
    assert chosen.precision == "fp32"
    assert len(chosen.warnings) == 1
    assert "bf16 products" in chosen.warnings[0]
    assert "runs as fp32" in chosen.warnings[0]


@pytest.mark.parametrize(
    ("on", "weights", "precision", "expected", "kernels"),
    [
        (MODERN, "both", "auto", ("int8", "openvino"), "natively"),
        (MODERN, "narrow", "auto", ("int8", "openvino"), "natively"),
        (OLD, "narrow", "auto", ("int8", "onnxruntime"), "pairs in 16 bits"),
        (OLD, "both", "auto", ("int8", "onnxruntime"), "16-bit products, exact"),
        (OLD, "both", "int8", ("int8", "onnxruntime"), "16-bit products, exact"),
        (ARM, "narrow", "auto", ("fp32", "openvino"), "fp32"),
        (ARM, "both", "int8", ("int8", "openvino"), "without overflow"),
    ],
)
def test_every_kind_of_processor(machine, request, on, weights, precision, expected, kernels):
    chosen = choose(request.getfixturevalue(weights), precision=precision, machine=on)
    assert (chosen.precision, chosen.engine) == expected
    assert kernels in chosen.kernels
    assert chosen.warnings == ()


def test_engine_whose_kernels_would_overflow_is_passed_over_and_said(machine, both, narrow):
    chosen = choose(both, precision="int8", engine="openvino", machine=OLD)
    assert chosen.engine == "onnxruntime"
    assert chosen.warnings == ("engine=openvino: its 8-bit kernels overflow on Old; runs on ONNX Runtime",)
    assert choose(narrow, precision="int8", engine="openvino", machine=OLD).engine == "openvino"


def test_package_without_int8_falls_back(machine, plain):
    assert choose(plain, precision="int8").warnings == (
        "precision=int8: the package was exported without int8; runs as fp32",
    )


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_package_quantised_in_a_form_of_another_version(machine, tmp_path, precision):
    newer = make(tmp_path / "newer", form=2)
    chosen = choose(newer, precision=precision)
    assert chosen.precision == "fp32"
    assert len(chosen.warnings) == 1
    assert "has form 2, this version of emoclip reads form 1; update emoclip" in chosen.warnings[0]


def test_package_whose_int8_graph_is_not_there_is_refused(tmp_path):
    made = make(tmp_path / "p")
    config = json.loads((made.path / "config.json").read_text())
    config["quantisation"]["graph"] = "../other.onnx"
    (made.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PackageError, match="lists no graph for its quantisation"):
        hub.load(str(made.path))


def test_package_of_nothing_but_8_bits_runs_anywhere(machine, tmp_path):
    packed = make(tmp_path / "packed", int8=False, precision="int8")
    machine(processor=OLD)
    assert (choose(packed).precision, choose(packed).warnings) == ("int8", ())
    assert choose(packed).why == "the package carries 8-bit weights only"
    assert choose(packed, precision="fp32").warnings == (
        "precision=fp32: the package carries 8-bit weights only; runs as int8",
    )


def test_small_tower_stays_on_onnx_runtime(machine, tmp_path):
    small = make(tmp_path / "small", megabytes=1)
    assert choose(small).engine == "onnxruntime"
    assert choose(small, precision="bf16").engine == "openvino"


def test_another_provider_is_onnx_runtime_s_and_fp32(machine, both):
    chosen = choose(both, provider="CUDA")
    assert (chosen.engine, chosen.precision, chosen.warnings) == ("onnxruntime", "fp32", ())
    assert "not CUDA" in choose(both, provider="CUDA", precision="int8").warnings[0]


def test_threads(machine, both, monkeypatch):
    assert choose(both).threads == 4
    assert choose(both, threads=1).threads == 1
    asked = choose(both, threads=64)
    assert asked.threads == 4
    assert asked.warnings == ("threads=64: this process may use 4 cores; runs on 4",)
    monkeypatch.setattr(execution, "cores", lambda: 1)
    assert choose(both, threads=2).warnings == ("threads=2: this process may use 1 core; runs on 1",)
    with pytest.raises(ConfigError, match="threads=0"):
        choose(both, threads=0)


def test_unknown_precision_is_refused(both):
    with pytest.raises(ConfigError, match="precision='fp8' is not one of auto, fp32, bf16, int8"):
        choose(both, precision="fp8")


def test_runtime_warns_once_and_runs(tmp_path, recwarn):
    made = hub.load(str(tiny_package(tmp_path / "p")))
    runtime = Runtime(made, threads=processor.cores() + 1, precision="int8")
    assert [str(warning.message).split(":")[0] for warning in recwarn] == [
        f"threads={processor.cores() + 1}",
        "precision=int8",
    ]
    assert runtime.form == "fp32/onnxruntime"
