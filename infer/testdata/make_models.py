"""Tiny text models of every shape that infer has to take, and what they must give.

    build/venv/bin/python infer/testdata/make_models.py

Writes models/NAME/ (a model folder each) beside this file, and models/expected.json: for each model the texts and their
embeddings, computed with numpy on each text alone, without padding. What a token's vector is made of:

    E[id] + mean of E over the tokens that the mask leaves (if there is a mask) + T[type 0] (if there are types)
          + P[position] (if there are positions)

so a wrong mask, padding, type or position shows in the result. The weights come from a fixed seed.

The model "several" has more than one output: tokens' vectors, a vector of each text, and scores of texts and of tokens.
models/several.json holds what each gives for pairs of texts, whose second half is of type 1.
"""
import json
import pathlib
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent / "models"
DIM, LIMIT = 8, 12
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
TEXTS = ["a b c", "d", "", "e f g h i j k l m", "z z", "q w e r t y u i o p a s d f g h j k", "a b c d", "? x", "n o"]
KINDS = {"i64": TensorProto.INT64, "i32": TensorProto.INT32, "f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16,
         "bool": TensorProto.BOOL}

rng = np.random.default_rng(7)
E = rng.normal(size=(len(WORDS), DIM)).astype(np.float32)
T = rng.normal(size=(2, DIM)).astype(np.float32)
P = rng.normal(size=(LIMIT, DIM)).astype(np.float32)


def tokens(text, limit):
    ids = [WORDS.index(w) if w in WORDS else 1 for w in text.split()]
    return [2] + ids[:limit - 2] + [3]


def token_vectors(ids, spec, types=0):
    h = E[ids]
    if spec.get("mask"):
        h = h + E[ids].mean(axis=0)
    if spec.get("types"):
        h = h + T[types]
    if spec.get("positions"):
        h = h + P[:len(ids)]
    return h


def reference(ids, spec):
    h = token_vectors(ids, spec)
    pooled = {"mean": h.mean(axis=0), "cls": h[0], "max": h.max(axis=0), "lasttoken": h[-1]}[spec.get("pooling", "mean")]
    if spec.get("normalize"):
        pooled = pooled / np.linalg.norm(pooled)
    return pooled


def build(spec):
    batch, seq = spec.get("batch", "batch"), spec.get("tokens", "tokens")
    nodes, inputs = [], []

    def node(op, ins, out, **attrs):
        nodes.append(helper.make_node(op, ins, [out], **attrs))
        return out

    def given(name, kind, want):
        inputs.append(helper.make_tensor_value_info(name, KINDS[kind], [batch, seq]))
        if KINDS[kind] == want:
            return name
        return node("Cast", [name], name + "_cast", to=want)

    ids = given("input_ids", spec.get("ids", "i64"), TensorProto.INT64)
    h = emb = node("Gather", ["E", ids], "emb")
    if spec.get("mask"):
        mask = given("attention_mask", spec["mask"], TensorProto.FLOAT)
        wide = node("Unsqueeze", [mask, "two"], "wide")
        total = node("ReduceSum", [node("Mul", [emb, wide], "kept"), "one"], "total", keepdims=1)
        count = node("ReduceSum", [wide, "one"], "count", keepdims=1)
        h = node("Add", [h, node("Div", [total, count], "mean")], "with_mean")
    if spec.get("types"):
        h = node("Add", [h, node("Gather", ["T", given("token_type_ids", spec["types"], TensorProto.INT64)], "typed")], "with_types")
    if spec.get("positions"):
        h = node("Add", [h, node("Gather", ["P", given("position_ids", spec["positions"], TensorProto.INT64)], "placed")], "with_positions")
    name, shape = spec.get("output", "last_hidden_state"), [batch, seq, DIM]
    if spec.get("whole"):
        shape = [batch, DIM]
        h = node("ReduceSum", [node("Mul", [h, wide], "kept_all"), "one"], "sum_all", keepdims=0)
        h = node("Div", [h, node("Squeeze", [count, "two"], "count2")], "whole")
    out_kind = TensorProto.FLOAT16 if spec.get("half") else TensorProto.FLOAT
    node("Cast", [h], name, to=out_kind) if spec.get("half") else node("Identity", [h], name)
    outputs = [helper.make_tensor_value_info(name, out_kind, shape)]
    if spec.get("several"):
        total = node("ReduceSum", [node("Mul", [h, wide], "kept_all"), "one"], "sum_all", keepdims=0)
        node("Neg", [node("Div", [total, node("Squeeze", [count, "two"], "count2")], "whole")], "sentence_embedding")
        node("Slice", ["whole", "zero", "three", "one"], "logits")
        node("Slice", [h, "zero", "three", "two"], "token_logits")
        outputs += [helper.make_tensor_value_info(n, out_kind, s) for n, s in
                    (("sentence_embedding", [batch, DIM]), ("logits", [batch, 3]), ("token_logits", [batch, seq, 3]))]
    weights = [numpy_helper.from_array(E, "E"), numpy_helper.from_array(np.array([1], np.int64), "one"),
               numpy_helper.from_array(np.array([2], np.int64), "two")]
    weights += [numpy_helper.from_array(np.array([n], np.int64), w) for n, w in ((0, "zero"), (3, "three"))] if spec.get("several") else []
    weights += [numpy_helper.from_array(T, "T")] if spec.get("types") else []
    weights += [numpy_helper.from_array(P, "P")] if spec.get("positions") else []
    if spec.get("old"):  # before IR version 4 initializers stood among the inputs
        inputs += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights]
    graph = helper.make_graph(nodes, spec["name"], inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make_models.py")
    model.ir_version = 3 if spec.get("old") else 8
    onnx.checker.check_model(model)
    return model


def tokenizer(left):
    special = [{"id": i, "content": WORDS[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i in range(4)]
    return {"version": "1.0", "truncation": None, "padding": PADDING if left else None, "added_tokens": special,
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "decoder": None,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                      "vocab": {w: i for i, w in enumerate(WORDS)}}}


PADDING = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}

MODELS = [
    dict(name="plain", mask="i64", types="i64", normalize=True),
    dict(name="int32", ids="i32", mask="i32", pooling="cls"),
    dict(name="ids_only", pooling="max", output="token_embeddings"),
    dict(name="half", mask="f16", types="f32", half=True),
    dict(name="bool_mask", mask="bool", positions="i64", pooling="lasttoken"),
    dict(name="float_mask", mask="f32", types="i32"),
    dict(name="fixed_batch", mask="i64", batch=4),
    dict(name="fixed_tokens", mask="i64", tokens=6, normalize=True),
    dict(name="fixed_both", mask="i64", batch=1, tokens=6),
    dict(name="whole", mask="i64", whole=True, output="sentence_embedding"),
    dict(name="external", mask="i64", types="i64", external=True),
    dict(name="old_inputs", mask="i64", old=True),
    dict(name="left", mask="i64", types="i64", positions="i64", pooling="lasttoken", side="left"),
    dict(name="left_fixed", mask="i64", positions="i32", pooling="cls", batch=3, tokens=9, side="left in tokenizer.json"),
    dict(name="several", mask="i64", types="i64", several=True),
]
CLASSIFIER = dict(name="classifier", mask="i64", whole=True, output="logits")


def write(spec):
    folder = HERE / spec["name"]
    (folder / "onnx").mkdir(parents=True)
    model = build(spec)
    if spec.get("external"):
        onnx.save(model, folder / "onnx" / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=100)
    else:
        onnx.save(model, folder / "onnx" / "model.onnx")

    def put(name, value):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")

    put("config.json", {"model_type": "bert", "hidden_size": DIM, "max_position_embeddings": LIMIT, "num_attention_heads": 2,
                        "intermediate_size": 4 * DIM, "pad_token_id": 0})
    put("tokenizer.json", tokenizer(spec.get("side") == "left in tokenizer.json"))
    if spec.get("side") == "left":
        put("tokenizer_config.json", {"padding_side": "left"})
    steps = ["Transformer", "Pooling"] + (["Dense"] if spec.get("whole") else []) + (["Normalize"] if spec.get("normalize") else [])
    put("modules.json", [{"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{s}", "type": "sentence_transformers.models." + s}
                         for i, s in enumerate(steps)])
    mode = spec.get("pooling", "mean")
    put("1_Pooling/config.json", {"word_embedding_dimension": DIM, "pooling_mode_cls_token": mode == "cls",
                                  "pooling_mode_mean_tokens": mode == "mean", "pooling_mode_max_tokens": mode == "max",
                                  "pooling_mode_lasttoken": mode == "lasttoken", "pooling_mode_mean_sqrt_len_tokens": False})
    limit = min(LIMIT, spec.get("tokens", LIMIT))
    return [[float(x) for x in reference(tokens(t, limit), spec)] for t in TEXTS]


def several(spec):
    """What each output gives for some pairs of ids and types."""
    out = []
    for n in (1, 4, 2, 7, 4):
        ids = rng.integers(1, len(WORDS), n)
        types = (np.arange(n) >= (n + 1) // 2).astype(int)
        h = token_vectors(ids, spec, types)
        whole = h.mean(axis=0)
        out.append({k: v.tolist() for k, v in dict(ids=ids, types=types, last_hidden_state=h, sentence_embedding=-whole,
                                                   logits=whole[:3], token_logits=h[:, :3]).items()})
    return out


shutil.rmtree(HERE, ignore_errors=True)
expected = {spec["name"]: write(spec) for spec in MODELS}
write(CLASSIFIER)
(HERE / "classifier" / "modules.json").unlink()
shutil.rmtree(HERE / "classifier" / "1_Pooling")
(HERE / "classifier" / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification"],
    "id2label": {str(i): w for i, w in enumerate("ABCDEFGH")}, "max_position_embeddings": LIMIT}) + "\n")
(HERE / "expected.json").write_text(json.dumps({"texts": TEXTS, "embeddings": expected}) + "\n")
(HERE / "several.json").write_text(json.dumps(several(MODELS[-1])) + "\n")
