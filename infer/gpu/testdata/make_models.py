"""Tiny models for the tests of package gpu, with weights from a fixed seed.

    build/venv/bin/python infer/gpu/testdata/make_models.py

image.onnx: pixels uint8[batch, 6, 6, 3] → scaled, transposed, convolved and averaged → features float[batch, 5]
conv.onnx: pixels float[batch, 3, 6, 6] → convolved and averaged → features float[batch, 5]; conv16.onnx the same in float16, conv4.onnx in runs of 4
count.onnx: numbers float[rows, 4] → big float[found, 4], the rows whose first number is above 0; twice float[rows, 4]
"""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(11)


def save(name, nodes, inputs, outputs, weights):
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make_models.py")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


save("image", [
    helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
    helper.make_node("Sub", ["scaled", "mean"], ["normal"]),
    helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
    helper.make_node("Conv", ["planes", "kernel"], ["conv"], kernel_shape=[3, 3]),
    helper.make_node("Relu", ["conv"], ["relu"]),
    helper.make_node("ReduceMean", ["relu"], ["features"], axes=[2, 3], keepdims=0),
], [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 6, 6, 3])],
    [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 5])],
    {"scale": np.float32(1 / 255), "mean": np.float32([0.4, 0.5, 0.6]), "kernel": rng.normal(size=(5, 3, 3, 3)).astype(np.float32)})

save("count", [
    helper.make_node("Slice", ["numbers", "zero", "one", "one", "one"], ["first"]),
    helper.make_node("Greater", ["first", "nought"], ["above"]),
    helper.make_node("Squeeze", ["above", "one"], ["mask"]),
    helper.make_node("Compress", ["numbers", "mask"], ["big"], axis=0),
    helper.make_node("Add", ["numbers", "numbers"], ["twice"]),
], [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 4])],
    [helper.make_tensor_value_info("big", TensorProto.FLOAT, ["found", 4]),
     helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["rows", 4])],
    {"zero": np.int64([0]), "one": np.int64([1]), "nought": np.float32(0)})

kernel = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
for name, kind, batch in ("conv", TensorProto.FLOAT, "batch"), ("conv16", TensorProto.FLOAT16, "batch"), ("conv4", TensorProto.FLOAT, 4):
    save(name, [
        helper.make_node("Conv", ["pixels", "kernel"], ["conv"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("ReduceMean", ["relu"], ["features"], axes=[2, 3], keepdims=0),
    ], [helper.make_tensor_value_info("pixels", kind, [batch, 3, 6, 6])],
        [helper.make_tensor_value_info("features", kind, [batch, 5])],
        {"kernel": kernel.astype(helper.tensor_dtype_to_np_dtype(kind))})
(HERE / "kernel.f32").write_bytes(onnx.load(HERE / "image.onnx").graph.initializer[2].raw_data)
