"""Models for the tests of onnxgraph, and the oracle of what was made of them.

    python models.py make DIR OPSET...    writes DIR/NAME.onnx, and prints their names as JSON
    python models.py check < CASES        holds changed models to numpy; prints one line a fault

A case is {"model": path, "changed": path, "memory": bool, "images": {...}, "steps": {...}, "inputs": [...], "outputs": [...]}:
what was asked for, under the names of the Go structs, and the changed model's inputs and outputs, as it was told.
The original model is run by ONNX Runtime, the steps are done by numpy on what it is given and what it gives.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALF = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
MASKS = {"i64": TensorProto.INT64, "i32": TensorProto.INT32, "f32": TensorProto.FLOAT, "bool": TensorProto.BOOL}
DIM, WORDS = 6, 20
rng = np.random.default_rng(11)


def tensor(array, name, kind):
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(kind)), name)


def save(folder, name, opset, nodes, inputs, outputs, inits, external=False):
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info(*i) for i in inputs],
                              [helper.make_tensor_value_info(*o) for o in outputs], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10)
    model.producer_name = "models.py"
    onnx.checker.check_model(model, full_check=True)
    if external:
        onnx.save(model, str(folder / f"{name}.onnx"), save_as_external_data=True, location=f"{name}.bin", size_threshold=100)
    else:
        onnx.save(model, str(folder / f"{name}.onnx"))
    return name


def image_model(folder, opset, kind, layout, fixed, clash=False):
    """Gives its input, doubled: so that every pixel shows."""
    n, h, w = (2, 5, 6) if fixed else ("batch", "height", "width")
    shape = [n, 3, h, w] if layout == "nchw" else [n, h, w, 3]
    name = f"image_{opset}_{kind}_{layout}_{'fixed' if fixed else 'free'}{'_clash' if clash else ''}"
    inner = ["penstock/images/Cast", "images_uint8"] if clash else ["a", "b"]
    nodes = [helper.make_node("Identity", ["images"], [inner[0]]), helper.make_node("Identity", [inner[0]], [inner[1]]),
             helper.make_node("Mul", [inner[1], "two"], ["pixels"])]
    return save(folder, name, opset, nodes, [("images", HALF[kind], shape)], [("pixels", HALF[kind], shape)],
                [tensor(np.array(2.0), "two", HALF[kind])])


def text_model(folder, opset, kind, mask, fixed, external=False):
    """Gives the vectors of its tokens, and as a second output logits. Weights come in an If, too: they must go through."""
    b, t = (3, 5) if fixed else ("batch", "tokens")
    name = f"text_{opset}_{kind}_{mask}_{'fixed' if fixed else 'free'}{'_external' if external else ''}"
    bias = helper.make_graph([helper.make_node("Identity", ["inner"], ["picked"])], "then", [],
                             [helper.make_tensor_value_info("picked", HALF[kind], [DIM])],
                             [tensor(rng.normal(size=DIM), "inner", HALF[kind])])
    none = helper.make_graph([helper.make_node("Identity", ["none"], ["unpicked"])], "else", [],
                             [helper.make_tensor_value_info("unpicked", HALF[kind], [DIM])], [tensor(np.zeros(DIM), "none", HALF[kind])])
    nodes = [helper.make_node("Gather", ["E", "input_ids"], ["gathered"]),
             helper.make_node("If", ["yes"], ["bias"], then_branch=bias, else_branch=none),
             helper.make_node("Add", ["gathered", "bias"], ["last_hidden_state"]),
             helper.make_node("Gather", ["last_hidden_state", "first"], ["logits"], axis=1)]
    inputs = [("input_ids", TensorProto.INT64, [b, t])]
    if mask != "none":
        inputs.append(("attention_mask", MASKS[mask], [b, t]))
        nodes.append(helper.make_node("Identity", ["attention_mask"], ["unread"]))
    outputs = [("last_hidden_state", HALF[kind], [b, t, DIM]), ("logits", HALF[kind], [b, DIM])]
    embed = rng.normal(size=(WORDS, DIM))
    embed[0] = np.nan  # the padding token's: what the mask leaves out must not show
    return save(folder, name, opset, nodes, inputs, outputs, [tensor(embed, "E", HALF[kind]), tensor(np.array(True), "yes", TensorProto.BOOL),
                tensor(np.array(0), "first", TensorProto.INT64)], external)


def make(folder, opsets):
    names = []
    for opset in opsets:
        names += [image_model(folder, opset, kind, layout, fixed) for kind in HALF for layout in ("nchw", "nhwc") for fixed in (True, False)]
        names += [text_model(folder, opset, kind, "i64", fixed) for kind in HALF for fixed in (True, False)]
    last = opsets[-1]
    names += [text_model(folder, last, "fp32", mask, False) for mask in ("i32", "f32", "bool", "none")]
    names += [image_model(folder, last, "fp16", "nchw", True, clash=True), text_model(folder, last, "fp16", "i64", False, external=True)]
    print(json.dumps(names))


def feed(model, images):
    """Inputs of the changed model, and those of the original one."""
    changed, original = {}, {}
    for i in model.graph.input:
        kind = helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type)
        if i.name == "input_ids":
            ids = rng.integers(1, WORDS, (3, 5))
            lengths = np.array([5, 1, 3])
            if any(x.name == "attention_mask" for x in model.graph.input):
                ids[np.arange(5)[None] >= lengths[:, None]] = 0
            changed[i.name] = original[i.name] = ids
        elif i.name == "attention_mask":
            changed[i.name] = original[i.name] = (np.arange(5)[None] < np.array([5, 1, 3])[:, None]).astype(kind)
        else:
            raw = rng.integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
            mean, std = (np.array(images.get(k) or [d], np.float64) for k, d in (("Mean", 0), ("Std", 1)))
            x = (raw * (images.get("Scale") or 1 / 255) - mean) / std
            dims = [d.dim_value for d in i.type.tensor_type.shape.dim]
            if dims[1] == 3:
                x = x.transpose(0, 3, 1, 2)
            changed[images["Is"]], original[i.name] = raw, x.astype(kind)
    return changed, original


def steps(value, mask, want):
    """The results of a suffix, as {ending of the name: array}."""
    x = value.astype(np.float64)
    if (how := want.get("Pool", 0)) != 0:
        mask = np.ones(x.shape[:2], bool) if mask is None else mask.astype(bool)
        rows = [x[i][mask[i]] for i in range(len(x))]
        x = np.stack([{1: lambda r: r.mean(0), 3: lambda r: r.max(0), 4: lambda r: r[-1]}[how](r) for r in rows]) if how != 2 else x[:, 0]
    if want.get("Normalize"):
        x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    if want.get("Activation") == 1:
        e = np.exp(x - x.max(-1, keepdims=True))
        x = e / e.sum(-1, keepdims=True)
    if want.get("Activation") == 2:
        x = 1 / (1 + np.exp(-x))
    if want.get("ArgMax"):
        return [x.argmax(-1)]
    if k := want.get("TopK"):
        order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
        return [np.take_along_axis(x, order, -1), order]
    return [x]


def session(path, source, from_memory):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if from_memory:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(pathlib.Path(source).parent))
        return ort.InferenceSession(pathlib.Path(path).read_bytes(), options, providers=["CPUExecutionProvider"])
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(case):
    images, want = case.get("images") or {}, case.get("steps")
    original = onnx.load(case["model"])
    changed = onnx.load(case["changed"], load_external_data=not case["memory"])
    if not case["memory"]:
        onnx.checker.check_model(changed, full_check=True)
    before, after = list(original.graph.initializer), list(changed.graph.initializer)
    assert [i.name for i in before] == [i.name for i in after], "initializers were changed"
    run = session(case["changed"], case["model"], case["memory"])
    told = lambda infos: [f"{i.name} {i.type} {[d if isinstance(d, int) else -1 for d in i.shape]}" for i in infos]
    assert told(run.get_inputs()) == case["inputs"], f"inputs are {told(run.get_inputs())}, {case['inputs']} were told"
    assert told(run.get_outputs()) == case["outputs"], f"outputs are {told(run.get_outputs())}, {case['outputs']} were told"
    ours, theirs = feed(original, images)
    raw = dict(zip([o.name for o in original.graph.output], session(case["model"], case["model"], False).run(None, theirs)))
    expected = []
    for name in [o.name for o in original.graph.output]:
        if want and name == want["Output"]:
            expected += steps(raw[name], theirs.get("attention_mask"), want)
        elif not (want and want.get("Only")):
            expected.append(raw[name])
    half = any(v.dtype == np.float16 for v in raw.values()) or want and want.get("Half")
    got = run.run(None, ours)
    assert len(got) == len(expected), f"{len(got)} outputs, {len(expected)} were expected"
    for g, e in zip(got, expected):
        assert g.shape == e.shape, f"shape {g.shape}, {e.shape} was expected"
        np.testing.assert_allclose(g.astype(np.float64), e.astype(np.float64), rtol=2e-3 if half else 1e-5, atol=2e-3 if half else 1e-5)


def main():
    if sys.argv[1] == "make":
        return make(pathlib.Path(sys.argv[2]), [int(o) for o in sys.argv[3:]])
    for case in json.load(sys.stdin):
        try:
            check(case)
        except Exception as e:  # each fault is a line of its own
            print(f"{pathlib.Path(case['changed']).name} {case.get('images')} {case.get('steps')}: {type(e).__name__}: {e}")


if __name__ == "__main__":
    main()
