"""Tiny models between columns of numbers, and what they must give.

    build/venv/bin/python infer/testdata/make_tensors.py

Writes tensors/*.onnx beside this file, and tensors/expected.json: for each model rows of its inputs and of its outputs. Outputs
are numpy's, but those of the quantised model, which are ONNX Runtime's. The weights come from a fixed seed.
"""
import json
import pathlib
import shutil

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

HERE = pathlib.Path(__file__).parent / "tensors"
F32, F16, F64, I64, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL
rng = np.random.default_rng(31)


def save(name, inputs, outputs, nodes, weights=(), **how):
    graph = helper.make_graph([helper.make_node(op, ins, outs, **attrs) for op, ins, outs, attrs in nodes], name,
                              [helper.make_tensor_value_info(*i) for i in inputs], [helper.make_tensor_value_info(*o) for o in outputs],
                              [numpy_helper.from_array(v, k) for k, v in weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make_tensors.py")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, HERE / (name + ".onnx"), **how)


def rows(**columns):
    return {k: np.asarray(v).tolist() for k, v in columns.items()}


shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir()
expected = {}

a, b = rng.normal(size=(7, 3)).astype(np.float32), rng.integers(-5, 5, size=7)
save("mixed", [("a", F32, ["batch", 3]), ("b", I64, ["batch"])],
     [("total", F32, ["batch"]), ("scaled", F32, ["batch", 3]), ("big", BOOL, ["batch", 3])],
     [("Cast", ["b"], ["bf"], {"to": F32}), ("ReduceSum", ["a", "one"], ["s"], {"keepdims": 0}), ("Add", ["s", "bf"], ["total"], {}),
      ("Unsqueeze", ["bf", "one"], ["bw"], {}), ("Mul", ["a", "bw"], ["scaled"], {}), ("Greater", ["scaled", "a"], ["big"], {})],
     [("one", np.array([1], np.int64))])
scaled = a * b[:, None].astype(np.float32)
expected["mixed"] = {"in": rows(a=a, b=b), "out": rows(total=a.sum(axis=1) + b, scaled=scaled, big=scaled > a)}

image = rng.normal(size=(5, 2, 2, 3)).astype(np.float32)
save("image", [("image", F32, ["batch", 2, 2, 3])], [("mean", F32, ["batch", 2])],
     [("ReduceMean", ["image"], ["mean"], {"axes": [2, 3], "keepdims": 0})])
expected["image"] = {"in": rows(image=image), "out": rows(mean=image.mean(axis=(2, 3)))}

x = rng.normal(size=(10, 3)).astype(np.float32)
save("fixed", [("x", F32, [4, 3])], [("y", F32, [4, 3])], [("Mul", ["x", "x"], ["y"], {})])
expected["fixed"] = {"in": rows(x=x), "out": rows(y=x * x)}

x = rng.normal(size=(6, 5)).astype(np.float32)
save("open", [("x", F32, ["batch", "n"])], [("same", F32, ["batch", "n"]), ("twice", F32, ["batch", "m"]), ("deep", F32, ["batch", "n", "k", 2])],
     [("Identity", ["x"], ["same"], {}), ("Concat", ["x", "x"], ["twice"], {"axis": 1}), ("Unsqueeze", ["twice", "two"], ["t3"], {}),
      ("Reshape", ["t3", "shape"], ["deep"], {})],
     [("two", np.array([2], np.int64)), ("shape", np.array([0, 5, 1, 2], np.int64))])
twice = np.concatenate([x, x], axis=1)
expected["open"] = {"in": rows(x=x), "out": rows(same=x, twice=twice, deep=twice.reshape(6, 5, 1, 2))}

x = rng.normal(size=(5, 2)).astype(np.float16)
save("half", [("x", F16, ["batch", 2])], [("y", F16, ["batch", 2])], [("Add", ["x", "x"], ["y"], {})])
expected["half"] = {"in": rows(x=x.astype(np.float32)), "out": rows(y=(x + x).astype(np.float32))}

kinds = {"int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
         "uint64": np.uint64, "float32": np.float32, "float64": np.float64, "bool": np.bool_}
columns, shapes = {}, []
for name, kind in kinds.items():
    columns[name] = np.array([0, 1, 0, 1], kind) if kind == np.bool_ else np.array([0, 1, 2, 100], kind)
    shapes.append((name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), ["batch"]))
save("types", shapes, [("out_" + n, k, s) for n, k, s in shapes], [("Identity", [n], ["out_" + n], {}) for n in kinds])
expected["types"] = {"in": rows(**columns), "out": rows(**{"out_" + n: v for n, v in columns.items()})}

x, w = rng.normal(size=(6, 16)).astype(np.float32), rng.normal(size=(16, 4)).astype(np.float32)
dense = ([("x", F32, ["batch", 16])], [("y", F32, ["batch", 4])], [("MatMul", ["x", "w"], ["y"], {})], [("w", w)])
save("external", *dense, save_as_external_data=True, location="external.weights", size_threshold=64)
expected["external"] = {"in": rows(x=x), "out": rows(y=x @ w)}
save("dense", *dense)
quantize_dynamic(HERE / "dense.onnx", HERE / "int8.onnx", weight_type=QuantType.QInt8)
session = onnxruntime.InferenceSession(HERE / "int8.onnx")
one = [session.run(None, {"x": x[i:i + 1]})[0][0] for i in range(len(x))]  # scales are those of a run: one row is one run
expected["int8"] = {"in": rows(x=x), "out": rows(y=np.stack(one)), "batch": 1}
(HERE / "dense.onnx").unlink()

save("whole", [("x", F32, ["batch", 2])], [("sum", F32, []), ("y", F32, ["batch", 2]), ("first", F32, ["n", 2])],
     [("ReduceSum", ["x"], ["sum"], {"keepdims": 0}), ("Identity", ["x"], ["y"], {}), ("Slice", ["x", "zero", "one"], ["first"], {})],
     [("zero", np.array([0], np.int64)), ("one", np.array([1], np.int64))])

(HERE / "expected.json").write_text(json.dumps(expected) + "\n")
