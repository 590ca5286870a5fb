"""Models and inputs of the GPU benchmark, as folders that both contestants read.

    build/venv/bin/python benchmarks/gpu/models.py DIR [--tiny] [--only NAME]

DIR/NAME/model.onnx, DIR/NAME/work.json (names, types and shapes of inputs and outputs, for one batch) and the raw bytes of a
batch's inputs. Weights and inputs are random, of fixed seeds, but for MiniLM's weights.

    resnet50  a ResNet-50 v1.5 with its batch norms folded away, float16; takes bytes, uint8[64, 224, 224, 3], casts and
              normalises them itself, and gives the index of the greatest logit and the logits
    minilm    all-MiniLM-L6-v2 in float16; takes ids of [256, 128] tokens, and gives the mean over the tokens, of length 1

--tiny: a narrow network of the same shape and small batches, for a test without a card.
"""
import argparse
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

ROOT = pathlib.Path(__file__).resolve().parents[2]
HALF = TensorProto.FLOAT16
BLOCKS = [(3, 64), (4, 128), (6, 256), (3, 512)]  # how many of which width: He et al., Deep Residual Learning (2015), table 1


class Net:
    """A graph in the making, in float16."""

    def __init__(self):
        self.rng = np.random.default_rng(50)
        self.nodes, self.weights = [], []

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind, *inputs, **attributes):
        out = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def conv(self, x, cin, cout, size, stride=1, gain=1.0):
        std = gain * (2.0 / (cin * size * size)) ** 0.5
        w = self.weight(self.rng.normal(0, std, (cout, cin, size, size)).astype(np.float16))
        b = self.weight(self.rng.normal(0, 0.01, cout).astype(np.float16))
        return self.op("Conv", x, w, b, kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4)


def resnet(narrow):
    """narrow divides every width."""
    net = Net()
    x = net.op("Transpose", "images", perm=[0, 3, 1, 2])
    x = net.op("Cast", x, to=HALF)
    scale = (1 / 255 / np.array([0.229, 0.224, 0.225])).astype(np.float16).reshape(3, 1, 1)
    shift = (-np.array([0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])).astype(np.float16).reshape(3, 1, 1)
    x = net.op("Add", net.op("Mul", x, net.weight(scale)), net.weight(shift))
    cin = 64 // narrow
    x = net.op("Relu", net.conv(x, 3, cin, 7, 2))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, (count, width) in enumerate(BLOCKS):
        width //= narrow
        for block in range(count):
            stride = 2 if block == 0 and stage else 1
            y = net.op("Relu", net.conv(x, cin, width, 1))
            y = net.op("Relu", net.conv(y, width, width, 3, stride))
            y = net.conv(y, width, 4 * width, 1, gain=0.25)  # small, so that sums stay in range without batch norms
            if block == 0:
                x = net.conv(x, cin, 4 * width, 1, stride, gain=0.7)
                cin = 4 * width
            x = net.op("Relu", net.op("Add", x, y))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    w = net.weight(net.rng.normal(0, 0.05, (1000, cin)).astype(np.float16))
    logits = net.op("Gemm", x, w, net.weight(np.zeros(1000, np.float16)), transB=1)
    net.nodes.append(helper.make_node("Cast", [logits], ["logits"], to=TensorProto.FLOAT))
    net.nodes.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0))
    graph = helper.make_graph(net.nodes, "resnet50", [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "h", "w", 3])],
                              [helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
                               helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])], net.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def minilm():
    model = onnx.load(ROOT / "build" / "models" / "all-MiniLM-L6-v2" / "onnx" / "model.onnx")
    model = convert_float_to_float16(model)
    graph = model.graph
    graph.node.extend([
        helper.make_node("Cast", [graph.output[0].name], ["p_hidden"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["p_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["p_mask", "p_axis2"], ["p_mask3"]),
        helper.make_node("Mul", ["p_hidden", "p_mask3"], ["p_left"]),
        helper.make_node("ReduceSum", ["p_left", "p_axis1"], ["p_sum"], keepdims=0),
        helper.make_node("ReduceL2", ["p_sum"], ["p_length"], axes=[-1]),
        helper.make_node("Div", ["p_sum", "p_length"], ["embedding"]),  # the number of tokens falls out of it
    ])
    graph.initializer.extend([numpy_helper.from_array(np.array([axis]), f"p_axis{axis}") for axis in (1, 2)])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 384]))
    return model


def write(folder, name, model, inputs, outputs):
    """inputs: arrays by name; outputs: shapes and types by name."""
    onnx.checker.check_model(model)
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "model.onnx")
    for key, array in inputs.items():
        (out / f"{key}.bin").write_bytes(array.tobytes())
    (out / "work.json").write_text(json.dumps({
        "inputs": [{"name": k, "shape": a.shape, "type": str(a.dtype)} for k, a in inputs.items()],
        "outputs": [{"name": k, "shape": s, "type": t} for k, (s, t) in outputs.items()]}) + "\n")


def write_resnet(folder, tiny):
    rows, side = (4, 64) if tiny else (64, 224)
    images = np.random.default_rng(8).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
    write(folder, "resnet50", resnet(8 if tiny else 1), {"images": images}, {"label": ([rows], "int64"), "logits": ([rows, 1000], "float32")})


def write_minilm(folder, tiny):
    rng = np.random.default_rng(9)
    rows, tokens = (4, 16) if tiny else (256, 128)
    lengths = rng.integers(tokens // 2, tokens + 1, rows)
    mask = (np.arange(tokens)[None] < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1000, 30000, (rows, tokens)) * mask
    write(folder, "minilm", minilm(), {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}, {"embedding": ([rows, 384], "float32")})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only")
    args = parser.parse_args()
    for name, make in (("resnet50", write_resnet), ("minilm", write_minilm)):
        if args.only in (None, name):
            make(args.dir, args.tiny)


if __name__ == "__main__":
    main()
