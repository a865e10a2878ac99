"""Ways in which somebody else's package can be wrong: odd values, spoilt bytes, graphs changed with knowledge."""

import copy
import json
import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from emoclip.files import sha256

MANY = settings(
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            False,
            math.nan,
            math.inf,
            -math.inf,
            -1,
            0,
            1,
            2,
            7,
            10**9,
            10**18,
            10**400,
            1e-30,
            1e300,
        ]
        + [
            "",
            "x",
            "16",
            "nan",
            "../x",
            "/etc/passwd",
            "\x1b[2J",
            "\ud800",
            "mean",
            "a" * 50_000,
            [],
            [[]],
            {},
        ]
        + [[0.5], [math.nan] * 3, [1e300] * 3, ["x"] * 3, [None] * 3, {"x": 1}, {"threshold": math.nan}]
    ),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
)


def sealed(folder):
    """Bring the hashes up to date, as somebody would who means harm."""
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {path.name: sha256(path) for path in folder.iterdir() if path.name != "config.json"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def places(value, path=()):
    """Yield the path of every value in a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(data, document, odd=ODD):
    """Replace or remove one to three values of a JSON document."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([each for each in places(document) if each] or [("x",)]))
        inside = document
        for key in path[:-1]:
            inside = inside[key]
        if data.draw(st.integers(0, 4)):
            inside[path[-1]] = data.draw(odd)
        elif isinstance(inside, list) or path[-1] in inside:
            del inside[path[-1]]
    return document


def spoilt(data, content):
    """Change, cut or insert some bytes."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "insert", "end"]))
        if kind == "flip" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set" and content:
            content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        else:
            del content[at:]
    return bytes(content)


def change_graph(data, model):
    """Change a valid part of a graph into another valid part."""
    graph = model.graph
    kind = data.draw(
        st.sampled_from(["dims", "type", "op", "domain", "wire", "ints", "drop", "twice", "weight"])
    )
    node = data.draw(st.sampled_from(list(graph.node)))
    if kind in ("dims", "type"):
        tensor = data.draw(st.sampled_from([*graph.input, *graph.output])).type.tensor_type
        if kind == "type":
            tensor.elem_type = data.draw(st.integers(0, 30))
        else:
            size = data.draw(st.sampled_from(list(tensor.shape.dim)))
            size.dim_value = data.draw(st.sampled_from([-1, 0, 1, 2, 3, 5, 16, 17, 2**31, 2**62]))
    elif kind == "op":
        node.op_type = data.draw(
            st.sampled_from(["Relu", "Identity", "Add", "Concat", "NoSuchThing", "Loop", ""])
        )
    elif kind == "domain":
        node.domain = data.draw(
            st.sampled_from(["ai.onnx", "ai.onnx.ml", "com.microsoft", "x\ny", "pkg.torch"])
        )
    elif kind == "wire":
        node.input[0] = data.draw(st.sampled_from(["", "nothing", *(each.output[0] for each in graph.node)]))
    elif kind == "ints" and node.attribute:
        attribute = data.draw(st.sampled_from(list(node.attribute)))
        attribute.ints[:] = [data.draw(st.sampled_from([-(2**62), -1, 0, 1, 3, 2**31, 2**62]))]
    elif kind == "drop":
        graph.node.remove(node)
    elif kind == "twice":
        graph.node.add().CopyFrom(node)
    elif kind == "weight":
        weight = data.draw(st.sampled_from(list(graph.initializer)))
        weight.dims[0] = data.draw(st.sampled_from([-1, 0, 1, 2**31, 2**62]))
