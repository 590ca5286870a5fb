"""Bare ONNX Runtime over batches that were cut and padded beforehand: no file, no tokeniser, and, unless its vectors are
asked for, no pooling. Or the plain loop: texts from Parquet, Hugging Face's tokenizers, ONNX Runtime, Parquet."""
import concurrent.futures
import json
import os

import numpy as np
import pyarrow.parquet as pq

import common
import text_common as text


def prebuilt(args, model):
    folder = os.path.dirname(args.input.rstrip("/"))
    with np.load(os.path.join(folder, "tokens.npz")) as f:
        ids, starts = f["ids"], f["starts"]
    with open(os.path.join(folder, "batches.json")) as f:
        batches = json.load(f)[args.batches]
    out = []
    for rows in batches:
        width = max(int(starts[r + 1] - starts[r]) for r in rows)
        block, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
        for i, r in enumerate(rows):
            n = int(starts[r + 1] - starts[r])
            block[i, :n], mask[i, :n] = ids[starts[r]:starts[r + 1]], 1
        out.append((rows, text.feeds(model, block, mask), mask))
    return out, len(starts) - 1


def bare(args):
    model = text.session(args.threads)
    batches, n = prebuilt(args, model)
    vectors = np.empty((n, text.DIM), np.float32)

    def one(batch):
        rows, feeds, mask = batch
        hidden = model.run(None, feeds)[0]
        if args.output:
            vectors[rows] = text.pool(hidden, mask)

    one(batches[0])
    run = common.Run()
    with concurrent.futures.ThreadPoolExecutor(args.callers) as pool:
        for _ in pool.map(one, batches):
            pass
    run.finish(n)
    if args.output:
        os.makedirs(args.output, exist_ok=True)
        np.save(os.path.join(args.output, "vectors.npy"), vectors)


def plain(args):
    embed = text.Embedder(args.threads, args.sort)
    run = common.Run()
    table = pq.read_table(common.inputs(args.input, ".parquet"))
    texts, rows = table["text"].to_pylist(), 1024 if args.sort else args.batch
    with concurrent.futures.ThreadPoolExecutor(args.callers) as pool:
        parts = list(pool.map(embed, (texts[at:at + rows] for at in range(0, len(texts), rows))))
    os.makedirs(args.output, exist_ok=True)
    pq.write_table(table.append_column("embedding", text.column(np.concatenate(parts))), os.path.join(args.output, "part.parquet"))
    run.finish(len(texts))


def main():
    parser = common.arguments("bare", "plain")
    parser.add_argument("--batches", choices=("packed", "global"), default="packed")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sort", type=int, default=0)
    args = parser.parse_args()
    bare(args) if args.task == "bare" else plain(args)


if __name__ == "__main__":
    main()
