"""The texts of the benchmark: doc comments of Go's standard library, each once, in a seeded order.

    build/peers/bin/python benchmarks/text/corpus.py --rows 8192 --out build/bench/text-8192

Writes OUT/in/texts.parquet (id, text), OUT/tokens.npz (the ids of all texts, and where each text's begin), OUT/batches.json
(the packer's batches, and those of texts sorted over the whole) and OUT/facts.json.
"""
import argparse
import hashlib
import json
import pathlib
import random
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "build" / "models" / "all-MiniLM-L6-v2"
SEED = 20240501
LIMIT = 256         # of the model, in tokens
BUDGET = 1024       # padded tokens of a batch
ARRIVAL = 64        # rows of a batch in order of arrival


def texts(rows, folder):
    """So many distinct comments in an order that the seed alone decides."""
    raw = folder / "godoc.jsonl"
    subprocess.run(["go", "run", "./examples/godoc", "--out", raw], cwd=ROOT, check=True)
    with open(raw) as f:
        found = sorted({json.loads(line)["text"] for line in f})
    if len(found) < rows:
        raise SystemExit(f"corpus: Go's standard library has {len(found)} distinct comments, {rows} are wanted")
    random.Random(SEED).shuffle(found)
    return found[:rows]


def efficiency(lengths, batches):
    """Tokens of the texts over the tokens that the model is given."""
    return float(lengths.sum() / sum(len(b) * lengths[b].max() for b in batches))


def sorted_batches(lengths):
    """The whole sorted by length, cut where the next text would pass the budget."""
    out, batch = [], []
    for i in np.argsort(lengths, kind="stable"):
        if batch and (len(batch) + 1) * lengths[i] > BUDGET:
            out.append(batch)
            batch = []
        batch.append(int(i))
    return out + [batch]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rows", type=int, required=True)
    args.add_argument("--out", type=pathlib.Path, required=True)
    args = args.parse_args()
    if (args.out / ".done").exists():
        return
    (args.out / "in").mkdir(parents=True, exist_ok=True)
    rows = texts(args.rows, args.out)
    pq.write_table(pa.table({"id": pa.array(range(len(rows)), pa.int64()), "text": rows}), args.out / "in" / "texts.parquet")
    tok = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tok.enable_truncation(LIMIT)
    tok.no_padding()
    ids = [e.ids for e in tok.encode_batch_fast(rows)]
    lengths = np.array([len(i) for i in ids])
    np.savez(args.out / "tokens.npz", ids=np.concatenate([np.array(i, np.int64) for i in ids]), starts=np.concatenate([[0], np.cumsum(lengths)]))
    packed = json.loads(subprocess.run(["go", "run", "./benchmarks/text/pack"], cwd=ROOT, input=json.dumps(lengths.tolist()),
                                       capture_output=True, text=True, check=True).stdout)
    batches = {"packed": packed, "global": sorted_batches(lengths)}
    (args.out / "batches.json").write_text(json.dumps(batches))
    arrival = [np.arange(at, min(at + ARRIVAL, len(rows))) for at in range(0, len(rows), ARRIVAL)]
    facts = {
        "rows": len(rows), "seed": SEED, "sha256": hashlib.sha256("\0".join(rows).encode()).hexdigest(), "bytes": sum(len(r.encode()) for r in rows),
        "tokens": int(lengths.sum()), "token_percentiles": {str(p): float(np.percentile(lengths, p)) for p in (1, 10, 25, 50, 75, 90, 95, 99, 100)},
        "padding_efficiency": {"arrival, batches of 64": round(efficiency(lengths, arrival), 4),
                               **{k: round(efficiency(lengths, b), 4) for k, b in batches.items()}},
    }
    (args.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    (args.out / ".done").touch()


if __name__ == "__main__":
    main()
