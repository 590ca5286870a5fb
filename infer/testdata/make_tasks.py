"""Tiny models for each text task, and what the task must make of them.

    build/venv/bin/python infer/testdata/make_tasks.py

Writes tasks/NAME/ (a model folder each) beside this file, and tasks/expected.json. Tokens come from the library `tokenizers`;
the model is computed with numpy on each text alone, without padding; and what is made of its logits is written out below as
transformers' pipelines and sentence-transformers' CrossEncoder define it. A token's vector is

    E[id] + mean of E over the text's tokens + T[type]

and logits are the vector (its mean, for a whole text) times W plus b. The weights come from a fixed seed.
"""
import json
import pathlib
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent / "tasks"
DIM, LIMIT = 8, 24
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
WORDS = SPECIAL + LETTERS + ["##" + c for c in LETTERS] + list("-,.!?'日本語") + ["##本"]
TEXTS = ["a bc def", "x", "", "the cat sat on a mat", "Ça va? Ünïcode!", "日本語 ab", "\U0001f600 a \U0001f600b", "a-b, c.d", "  lead and trail  ",
         "q w e r t y u i o p a s d f g h j k l z x c v b n m q w e r t y", "aa aa aa bb bb", "tab\tand\nline", "zero\u200bwidth", "e\u0301a"]
OTHERS = ["b", "cat", "mat the", "", "va", "q w e r t y u i o p a s d f g h j k l z x c v b n m q w e r", "ab ab", "c d", "lead", "w e r t", "bb", "line", "o", "a"]

rng = np.random.default_rng(23)


def word_pieces():
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]", continuing_subword_prefix="##"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.decoder = decoders.WordPiece()
    t.add_special_tokens(SPECIAL)
    return t


def char_pairs():
    """Pairs of characters, without a mark for what goes on with a word."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    t.train_from_iterator([x for x in TEXTS * 3 + OTHERS if x.isascii()], trainer)
    t.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)])
    return t


class Model:
    """A tiny model: labels per text or, with per_token, per token."""

    def __init__(self, name, labels, tokenizer, per_token=False, half=False, left=False, types=True, **config):
        self.name, self.labels, self.per_token, self.half, self.left, self.types = name, labels, per_token, half, left, types
        self.config = config
        self.tok = tokenizer()
        self.pad = self.tok.token_to_id("[PAD]") if "[PAD]" in self.tok.get_vocab() else self.tok.token_to_id("<pad>")
        n = self.tok.get_vocab_size()
        self.E = rng.normal(size=(n, DIM)).astype(np.float32)
        self.T = rng.normal(size=(2, DIM)).astype(np.float32)
        self.W = (1.5 * rng.normal(size=(DIM, len(labels)))).astype(np.float32)
        self.b = rng.normal(size=(len(labels),)).astype(np.float32)

    def logits(self, encoding):
        ids, types = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
        h = self.E[ids] + self.E[ids].mean(axis=0)
        if self.types:
            h = h + self.T[types]
        out = (h if self.per_token else h.mean(axis=0)) @ self.W + self.b
        return out.astype(np.float16).astype(np.float32) if self.half else out.astype(np.float32)

    def encode(self, text, pair=None, strategy="longest_first"):
        self.tok.enable_truncation(LIMIT, strategy=strategy)
        e = self.tok.encode(text, pair) if pair is not None else self.tok.encode(text)
        self.tok.no_truncation()
        return e

    def onnx(self):
        nodes, inputs = [], []

        def node(op, ins, out, **attrs):
            nodes.append(helper.make_node(op, ins, [out], **attrs))
            return out

        def given(name):
            inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]))
            return name

        emb = node("Gather", ["E", given("input_ids")], "emb")
        wide = node("Unsqueeze", [node("Cast", [given("attention_mask")], "mask", to=TensorProto.FLOAT), "two"], "wide")
        total = node("ReduceSum", [node("Mul", [emb, wide], "kept"), "one"], "total", keepdims=1)
        count = node("ReduceSum", [wide, "one"], "count", keepdims=1)
        h = node("Add", [emb, node("Div", [total, count], "mean")], "h")
        weights = [("E", self.E), ("W", self.W), ("b", self.b), ("one", np.array([1], np.int64)), ("two", np.array([2], np.int64))]
        if self.types:
            h = node("Add", [h, node("Gather", ["T", given("token_type_ids")], "typed")], "with_types")
            weights.append(("T", self.T))
        shape = ["batch", "tokens", len(self.labels)]
        if not self.per_token:
            h = node("ReduceSum", [node("Mul", [h, wide], "kept_all"), "one"], "sum_all", keepdims=0)
            h = node("Div", [h, node("Squeeze", [count, "two"], "count2")], "whole")
            shape = ["batch", len(self.labels)]
        h = node("Add", [node("MatMul", [h, "W"], "scored"), "b"], "scores")
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        node("Cast", [h], "logits", to=kind)
        graph = helper.make_graph(nodes, self.name, inputs, [helper.make_tensor_value_info("logits", kind, shape)],
                                  [numpy_helper.from_array(v, k) for k, v in weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make_tasks.py")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model

    def write(self):
        folder = HERE / self.name
        folder.mkdir(parents=True)
        onnx.save(self.onnx(), folder / "model.onnx")
        self.tok.save(str(folder / "tokenizer.json"))
        kind = "BertForTokenClassification" if self.per_token else "BertForSequenceClassification"
        config = {"model_type": "bert", "architectures": [kind], "hidden_size": DIM, "max_position_embeddings": LIMIT, "num_attention_heads": 2,
                  "pad_token_id": self.pad, "id2label": {str(i): l for i, l in enumerate(self.labels)}, **self.config}
        (folder / "config.json").write_text(json.dumps(config) + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "model_max_length": LIMIT, "padding_side": "left" if self.left else "right",
            "unk_token": "[UNK]" if self.tok.token_to_id("[UNK]") is not None else "<unk>"}) + "\n")


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def classify(m, text):
    """All labels with their scores, the best first: transformers' TextClassificationPipeline with top_k=None."""
    logits = m.logits(m.encode(text))
    problem = m.config.get("problem_type")
    if problem == "regression":
        scores = logits
    elif problem == "multi_label_classification" or len(m.labels) == 1:
        scores = sigmoid(logits)
    else:
        scores = softmax(logits)
    return sorted(([l, float(s)] for l, s in zip(m.labels, scores)), key=lambda x: -x[1])


def zero_shot(m, text, candidates, template, multi):
    """Scores in the order of the candidates: transformers' ZeroShotClassificationPipeline."""
    entail = next((i for i, l in enumerate(m.labels) if l.lower().startswith("entail")), -1)
    logits = np.stack([m.logits(m.encode(text, template.format(c), "only_first")) for c in candidates])
    if multi or len(candidates) == 1:
        contradict = -1 if entail == 0 else 0
        return [float(x) for x in softmax(logits[:, [contradict, entail]])[:, 1]]
    return [float(x) for x in softmax(logits[:, entail])]


def tag(name):
    if name.startswith("B-"):
        return "B", name[2:]
    return "I", name[2:] if name.startswith("I-") else name


def entities(m, text, how):
    """transformers' TokenClassificationPipeline: [entity, score, start, end], offsets in code points."""
    e = m.encode(text)
    scores = softmax(m.logits(e))
    unknown = m.tok.token_to_id("[UNK]" if "[UNK]" in m.tok.get_vocab() else "<unk>")
    prefixed = "[UNK]" in m.tok.get_vocab()  # a WordPiece has a prefix for what goes on with a word
    tokens = []
    for i, token in enumerate(e.tokens):
        if e.special_tokens_mask[i]:
            continue
        start, end = e.offsets[i]
        ref = text[start:end]
        subword = len(token) != len(ref) if prefixed else start > 0 and " " not in text[start - 1:start + 1]
        if e.ids[i] == unknown:
            subword = False
        tokens.append((scores[i], start, end, subword))
    words, group = [], []

    def word():
        s = [t[0] for t in group]
        if how == "max":
            chosen = max(s, key=lambda x: x.max())
        elif how == "average":
            chosen = np.nanmean(np.stack(s), axis=0)
        else:
            chosen = s[0]
        words.append((m.labels[chosen.argmax()], chosen.max(), group[0][1], group[-1][2]))

    for t in tokens:
        if group and not (t[3] and how in ("first", "max", "average")):
            word()
            group = []
        group.append(t)
    if group:
        word()
    if how == "none":
        return [[w[0], float(w[1]), w[2], w[3]] for w in words if w[0] != "O"]
    out, group = [], []

    def entity():
        name = group[0][0].split("-", 1)[-1]
        if name != "O":
            out.append([name, float(np.mean([g[1] for g in group])), group[0][2], group[-1][3]])

    for w in words:
        if group:
            kind, name = tag(w[0])
            if name != tag(group[-1][0])[1] or kind == "B":
                entity()
                group = []
        group.append(w)
    if group:
        entity()
    return out


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    plain = Model("single", ["calm", "angry", "glad"], word_pieces)
    classifiers = [plain, Model("multi", ["calm", "angry", "glad", "sad"], word_pieces, problem_type="multi_label_classification"),
                   Model("one", ["toxic"], word_pieces), Model("regress", ["LABEL_0"], word_pieces, problem_type="regression"),
                   Model("half", ["calm", "angry"], word_pieces, half=True), Model("left", ["calm", "angry"], char_pairs, left=True, types=False)]
    nli = [Model("nli", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], word_pieces), Model("nli_first", ["entailment", "not_entailment"], word_pieces)]
    ners = [Model("ner", tags, word_pieces, per_token=True), Model("ner_pairs", tags, char_pairs, per_token=True, types=False)]
    rankers = [(Model("ranker", ["LABEL_0"], word_pieces), sigmoid),
               (Model("ranker_raw", ["LABEL_0"], word_pieces, sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"}), lambda x: x),
               (Model("ranker_old", ["LABEL_0"], word_pieces, sbert_ce_default_activation_function="torch.nn.modules.linear.Identity"), lambda x: x)]
    for m in classifiers + nli + ners + [r for r, _ in rankers]:
        m.write()
    candidates, template = ["cat", "mat and tab", "x"], "this is {}."
    expected = {
        "texts": TEXTS, "others": OTHERS, "candidates": candidates, "template": template,
        "classify": {m.name: [classify(m, t) for t in TEXTS] for m in classifiers},
        "zeroshot": {m.name: [zero_shot(m, t, candidates, template, False) for t in TEXTS] for m in nli},
        "zeroshot_multi": {m.name: [zero_shot(m, t, candidates, template, True) for t in TEXTS] for m in nli},
        "ner": {m.name: {how: [entities(m, t, how) for t in TEXTS] for how in ("simple", "first", "max", "average", "none")} for m in ners},
        "rerank": {m.name: [float(f(m.logits(m.encode(q, t))[0])) for q, t in zip(OTHERS, TEXTS)] for m, f in rankers},
    }
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=True) + "\n")


main()
