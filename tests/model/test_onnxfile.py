"""What a graph takes, gives and refers to, against the `onnx` package; what is no plain graph is refused."""

import struct

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from packages import tiny_package

from emoclip.model import onnxfile, package
from emoclip.model.onnxfile import Value


def described(path):
    """Say what `onnx` finds in a file, in our terms."""
    graph = onnx.load(path, load_external_data=False).graph

    def value(info):
        tensor = info.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        return Value(tensor.elem_type, tuple(dims) if tensor.HasField("shape") else None)

    held = {weight.name for weight in graph.initializer}
    files: dict[str, int] = {}
    for weight in graph.initializer:
        entry = {pair.key: pair.value for pair in weight.external_data}
        if "location" in entry:
            end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
            files[entry["location"]] = max(files.get(entry["location"], 0), end)
    takes = {info.name: value(info) for info in graph.input if info.name not in held}
    return onnxfile.Graph(takes, {info.name: value(info) for info in graph.output}, files)


def model(nodes=(), functions=(), weights=()):
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(weights),
    )
    return helper.make_model(graph, functions=list(functions), opset_imports=[helper.make_opsetid("", 17)])


def body():
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")]
    )


def branch():
    return helper.make_node("If", ["x"], ["y"], then_branch=body(), else_branch=body())


def outside(name="w"):
    weight = numpy_helper.from_array(np.ones(3, np.float32), name)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", f"{name}.data"), ("offset", "8"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    return weight


def written(tmp_path, content):
    path = tmp_path / "g.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


@pytest.mark.parametrize("name", ["image.onnx", "temporal.onnx", "text.onnx"])
def test_real_graphs_are_read_as_onnx_reads_them(name, tmp_path):
    for folder in (package.bundled_folder() / package.BUNDLED, tiny_package(tmp_path / "p")):
        assert onnxfile.read(folder / name) == described(folder / name)


def test_weights_beside_a_graph_are_found_wherever_a_tensor_can_stand(tmp_path):
    sparse = helper.make_sparse_tensor(outside("s"), outside("t"), [9])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=outside("c")),
        helper.make_node("Constant", [], ["d"], sparse_value=sparse),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    whole = model(nodes, weights=[outside("w")])
    whole.graph.sparse_initializer.add().CopyFrom(sparse)
    assert onnxfile.read(written(tmp_path, whole)).files == dict.fromkeys(
        ["c.data", "s.data", "t.data", "w.data"], 20
    )
    plain = written(tmp_path, model(weights=[outside("a"), outside("b")]))
    assert onnxfile.read(plain) == described(plain)


def test_weights_that_are_listed_as_inputs_are_none(tmp_path):
    whole = model(weights=[numpy_helper.from_array(np.ones(3, np.float32), "w")])
    whole.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    assert onnxfile.read(written(tmp_path, whole)).inputs.keys() == {"x"}


def nested(depth):
    """A message in a message in a message ..., each in the field of graphs."""
    content = b""
    for _ in range(depth):
        size, digits = len(content), bytearray()
        while size >= 0x80:
            digits.append(size & 0x7F | 0x80)
            size >>= 7
        content = b"\x3a" + bytes([*digits, size]) + content
    return content


FUNCTION = helper.make_function("mine", "F", ["x"], ["y"], [branch()], [helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (model([branch()]), "control flow"),
        (model([helper.make_node("Loop", ["", "", "x"], ["y"], body=body())]), "control flow"),
        (model([helper.make_node("Scan", ["x"], ["y"], body=body(), num_scan_inputs=1)]), "control flow"),
        (model([helper.make_node("If", ["x"], ["y"])]), r"control flow \(If\)"),
        (model([helper.make_node("Relu", ["x"], ["y"], hidden=[body()])]), "control flow"),
        (model([helper.make_node("F", ["x"], ["y"], domain="mine")], [FUNCTION]), "beside ONNX's own"),
        (
            model([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")]),
            "com.microsoft.EPContext",
        ),
        (model([helper.make_node("Bad\x1b[2J", ["x"], ["y"], domain="x\ny")]), r"x\\ny\.Bad\\x1b"),
        (model(functions=[FUNCTION]), "functions"),
        (b"", "empty"),
        (b"\x08\x08", "no graph"),
        (model().SerializeToString() * 2, "no graph"),
        (model().SerializeToString()[:-3], "damaged"),
        (b"<net version='11'></net>", "no ONNX"),
        (b"\x00\x01", "without a number"),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "without an end"),
        (b"\xba\x80\x80\x80\x80\x01\x00", "without a number"),  # a key that cut to 32 bits is the graph's
        (b"\x38\x05", "number where a message"),
        (b"\x3a\xff\xff\xff\xff\x0f", "too early"),
        (b"\x3b", "unknown kind"),
    ],
)
def test_what_is_no_plain_graph_is_refused(tmp_path, content, said):
    with pytest.raises(ValueError, match=said) as caught:
        onnxfile.read(written(tmp_path, content))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change", [("offset", "-1"), ("length", "9" * 30), ("offset", "٣"), ("length", "0x9")]
)
def test_places_of_weights_that_are_no_numbers_are_refused(tmp_path, change):
    weight = outside()
    weight.external_data.add(key=change[0], value=change[1])
    with pytest.raises(ValueError, match="damaged"):
        onnxfile.read(written(tmp_path, model(weights=[weight])))


def test_depth_and_number_of_parts_are_bounded(tmp_path, monkeypatch):
    onnxfile.read(written(tmp_path, nested(3000)))  # no deeper than what matters
    monkeypatch.setattr(onnxfile, "MOST_FIELDS", 1000)
    with pytest.raises(ValueError, match="more than 1,000 parts"):
        onnxfile.read(written(tmp_path, b"\x3a" + struct.pack("B", 0) + b"\x08\x08" * 1000))
