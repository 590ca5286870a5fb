"""Awkward texts with the token ids and embeddings that Python's tokenizers and onnxruntime give for them.

    build/venv/bin/python scripts/oracle.py --model build/models/all-MiniLM-L6-v2 --out build/oracle

Writes awkward.parquet (id int64, text string), awkward_ids.jsonl (id, token ids) and awkward_embeddings.npy
(float32[rows, 384], in the order of id). One row at a time through the model, so no padding is involved: mean of the
hidden states of all tokens, then L2 norm. The texts come from a fixed seed: the same bytes each time.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import tempfile

import numpy as np
import onnxruntime
import pyarrow
import pyarrow.parquet
from tokenizers import Tokenizer

SEED = 20260801
WORDS = """order invoice parcel late refund thanks delivery please account password broken screen the a of to in we I
not yesterday tomorrow meeting price discount contract engine turbine pipe water stream flow gate valve unaffordable
electroencephalography antidisestablishmentarianism isn't they're o'clock e-mail co-operate U.S.A. 3.14 1,000,000 50%
$19.99 C++ C# node.js foo_bar CamelCase""".split()

FIXED = [
    "", " ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\u2028", "\u2029", "\x00", "\x00\x00",
    "a\x00b", "\x00start", "end\x00", "\x01\x02\x03", "bell\x07bell", "tab\tin\tline", "line\nbreak", "form\ffeed", "\x7f", "\x85", "nel\x85nel",
    "soft\u00adhyphen", "zero\u200bwidth\u200bspace", "word\u2060joiner", "\ufeffbom first", "\ufffd", "\ufffd\ufffd mixed \ufffd", "\ufffe", "\uffff",
    # unassigned, private and noncharacter code points
    "\u0378", "x\u0378y", "\U0003fffd", "\ue000", "a\uf8ffb", "\U000f0000", "\U0010ffff", "\U0010fffd end", "\U000e0001tag",
    # literals of the vocabulary, whole and nearly
    "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "The [MASK] of France is Paris.", "[CLS] twice [SEP] over [SEP]", "[mask]", "[ MASK ]", "[MASK", "MASK]",
    "[[MASK]]", "a[MASK]b", "[MASK][MASK]", "[PAD][PAD] padded", "##ing", "## ing", "play##ing", "[unused1]", "[unused99] x", "<s>", "</s>", "<|endoftext|>",
    # accents: composed, decomposed, stacked
    "café", "cafe\u0301", "\u0301", "\u0301\u0302 alone", "e\u0301\u0327\u0323", "Z\u0351\u036b\u0343a\u0363\u0308l\u0352g\u0357o\u034a", "Å \u212b A\u030a",
    "İstanbul", "ıI", "ß ẞ straße", "ǅ ǆ Ǆ", "ﬁ ﬂ ﬃ ligatures", "Ωμέγα ώ", "ΣΊΣΥΦΟΣ", "ёЁ йЙ", "ñandú", "naïve façade", "Tiếng Việt rất đẹp", "Dvořák", "ø Ø đ Đ ł Ł",
    # emoji
    "🙂", "🙂🙃", "I ❤️ it", "❤", "👍🏽", "👩‍👩‍👧‍👦", "👨🏿‍🚀 away", "🏳️‍🌈", "🇫🇷🇯🇵", "1️⃣2️⃣", "🫠", "text🙂text", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☎ ☃ ♥",
    # scripts
    "東京都に住んでいます", "你好，世界！", "中文English混合", "ひらがなカタカナ漢字", "ｶﾀｶﾅ ＡＢＣ１２３", "한국어 텍스트", "\u1112\u1161\u11ab\u1100\u1173\u11af", "𠀀𠀁 rare", "㐀㐁",
    "豈更", "神 福", "مرحبا بالعالم", "\u202eabc\u202c", "שלום עולם", "שָׁלוֹם", "ﷺ", "हिन्दी में लिखा", "ไทยไม่มีช่องว่าง", "বাংলা", "தமிழ்", "ქართული", "Հայերեն",
    "አማርኛ", "ខ្មែរ", "မြန်မာ", "བོད་ཡིག", "ᚠᚢᚦ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𝟘𝟙𝟚", "𐍈𐌰", "ⅣⅧ ½ ² ₂ №",
    # punctuation and the like
    "!", "...", "!!!???", "—–-‐", "“quoted” ‘so’ «thus» „here“", "a-b_c/d\\e|f", "`~^=+<>$", "¡¿§¶†‡•‰′″※", "。、「」『』", "؟،؛", "a.b.c", "(((((", "€£¥₹₿",
    "http://example.org/a?b=c&d=%20e#f", "someone@example.org", "C:\\Users\\x", "{\"a\": [1, 2]}", "<b>bold</b>", "2026-08-01T12:00:00Z", "1e-12", "0x7fff", "½¼",
    # long
    "a" * 99, "a" * 100, "a" * 101, "é" * 100, "e\u0301" * 100, "z" * 5000, "ab" * 50 + " " + "ab" * 51, "中" * 300, "🙂" * 300, "." * 600, " " * 5000 + "x",
    "x" + "\n" * 2000 + "y", "\u0301" * 500, "#" * 255, "supercalifragilisticexpialidocious" * 4, "word " * 253 + "end", "word " * 254 + "end", "word " * 255 + "end",
    "un" + "believ" * 30 + "able", "[MASK] " * 300, "\x00" * 300,
]

RANGES = [
    (0x20, 0x7E), (0x00, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20CF), (0x2100, 0x214F), (0x2200, 0x22FF),
    (0x2E80, 0x2FDF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF),
    (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x10000, 0x1FFFF), (0x1F300, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE0FFF),
    (0x0, 0xD7FF), (0xE000, 0x10FFFF),
]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def symbols(rng, n, ranges):
    return "".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(n))


def spoilt(rng, n):
    """A sentence with odd characters put in at random places."""
    text = list(sentence(rng, n))
    for _ in range(rng.randint(1, n)):
        text.insert(rng.randrange(len(text) + 1), symbols(rng, 1, RANGES))
    return "".join(text)


def make_texts():
    rng = random.Random(SEED)
    texts = list(FIXED)
    texts += [sentence(rng, rng.randint(1, 60)) for _ in range(120)]
    texts += [sentence(rng, n) for n in (200, 250, 260, 500, 1000, 3000)]
    texts += [symbols(rng, rng.randint(1, 40), [r]) for r in RANGES for _ in range(4)]
    texts += [symbols(rng, rng.randint(1, 60), RANGES) for _ in range(100)]
    texts += [spoilt(rng, rng.randint(1, 40)) for _ in range(120)]
    return texts


class Model:
    """The model folder by Python's own libraries, one row at a time."""

    def __init__(self, folder):
        limits = json.loads((folder / "sentence_bert_config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(limits["max_seq_length"])
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"), options, providers=["CPUExecutionProvider"])

    def embed(self, text):
        ids = self.tokenizer.encode(text).ids
        row = np.array([ids], np.int64)
        feed = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        hidden = self.session.run(["last_hidden_state"], feed)[0][0].astype(np.float64)
        mean = hidden.mean(axis=0)
        return ids, (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--model", required=True, type=pathlib.Path)
    args.add_argument("--out", required=True, type=pathlib.Path)
    args = args.parse_args()
    model, texts = Model(args.model), make_texts()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent) as tmp:
        out = pathlib.Path(tmp) / args.out.name
        out.mkdir()
        vectors = []
        with open(out / "awkward_ids.jsonl", "w") as lines:
            for i, text in enumerate(texts):
                ids, vector = model.embed(text)
                vectors.append(vector)
                lines.write(json.dumps({"id": i, "ids": ids}) + "\n")
        np.save(out / "awkward_embeddings.npy", np.stack(vectors))
        table = pyarrow.table({"id": pyarrow.array(range(len(texts)), pyarrow.int64()), "text": pyarrow.array(texts, pyarrow.string())})
        pyarrow.parquet.write_table(table, out / "awkward.parquet", row_group_size=200)
        if args.out.exists():
            shutil.rmtree(args.out)
        os.rename(out, args.out)
    print(f"oracle: {len(texts)} rows in {args.out}")


if __name__ == "__main__":
    main()
