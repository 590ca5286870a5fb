"""The oracle of the package's tests: what the Rust library `tokenizers` says.

Requests come as JSON lines on stdin, answers go as JSON lines to stdout, in
order. A request:

    {"file": path or "json": tokenizer.json as a string,
     "texts": [...] or "pairs": [[a, b], ...] or
     "bytes": [...]                         base64 of texts that may be invalid,
     "special": bool,                       whether special tokens are added
     "max": n, "strategy": s, "direction": d}   a limit in place of the file's

An answer holds, of all texts together, as base64 of little-endian 32-bit
numbers: "counts" (tokens of each text), "ids", "types", "offsets" (start and
end in characters), "mask", "words" and "seqs" (which text of a pair; both -1 if
none); for "bytes" also "starts", the byte that each character begins at, and
the length, text after text; or "error".

A request with "model", the path of a SentencePiece .model, asks `sentencepiece`
for "counts" and "ids" of texts; one with "train" too, its trainer's arguments,
has the model written there from the texts.
"""

import array
import base64
import codecs
import json
import sys
from itertools import chain

from tokenizers import Tokenizer

opened = {}


def load(req):
    limit = tuple(req.get(k) for k in ("max", "strategy", "direction"))
    source = req.get("file") or req["json"]
    if (source, limit) not in opened:
        t = Tokenizer.from_file(source) if "file" in req else Tokenizer.from_str(source)
        t.no_padding()
        if limit[0] is not None:
            t.enable_truncation(limit[0], strategy=limit[1], direction=limit[2])
        opened[source, limit] = t
    return opened[source, limit]


def decode(data):
    """Bytes as text, and where each character and the end lie in them."""
    ends = {}

    def replace(e):
        ends[e.start] = e.end
        return "\ufffd", e.end

    codecs.register_error("record", replace)
    text = data.decode("utf-8", "record")
    starts, at = [], 0
    for c in text:
        starts.append(at)
        at = ends.get(at) or at + len(c.encode())
    return text, [*starts, at]


def packed(code, numbers):
    a = array.array(code, numbers)
    if sys.byteorder != "little":
        a.byteswap()
    return base64.b64encode(a.tobytes()).decode()


def pieces(req):
    import sentencepiece

    if "train" in req:
        with open(req["model"], "wb") as f:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(req["texts"]), model_writer=f, minloglevel=2, num_threads=1, **req["train"])
        return {}
    if req["model"] not in opened:
        opened[req["model"]] = sentencepiece.SentencePieceProcessor(model_file=req["model"])
    out = opened[req["model"]].encode(req["texts"], out_type=int, num_threads=1)
    return {"counts": packed("I", map(len, out)), "ids": packed("i", chain.from_iterable(out))}


def answer(req):
    if "model" in req:
        return pieces(req)
    t = load(req)
    extra = {}
    if "texts" in req:
        texts = req["texts"]
    elif "pairs" in req:
        texts = [tuple(p) for p in req["pairs"]]
    else:
        texts, starts = zip(*(decode(base64.b64decode(b)) for b in req["bytes"]))
        extra["starts"] = packed("I", chain.from_iterable(starts))
    out = t.encode_batch(list(texts), add_special_tokens=req["special"])
    return extra | {
        "counts": packed("I", [len(e.ids) for e in out]),
        "ids": packed("I", chain.from_iterable(e.ids for e in out)),
        "types": packed("I", chain.from_iterable(e.type_ids for e in out)),
        "offsets": packed("I", chain.from_iterable(chain.from_iterable(e.offsets) for e in out)),
        "mask": packed("I", chain.from_iterable(e.special_tokens_mask for e in out)),
        "words": packed("i", [-1 if w is None else w for e in out for w in e.word_ids]),
        "seqs": packed("i", [-1 if q is None else q for e in out for q in e.sequence_ids]),
    }


def main():
    for line in sys.stdin:
        try:
            ans = answer(json.loads(line))
        except BaseException as e:  # the library's panics aren't Exceptions
            ans = {"error": f"{type(e).__name__}: {e}"}
        sys.stdout.write(json.dumps(ans) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
