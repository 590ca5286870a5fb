"""The side of the library `tokenizers` in the benchmark of tokenisers: the same texts and files as main.go, on one thread.

    TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1 python peer.py bpe --input FOLDER --passes 5

encode_batch_fast leaves out the offsets. What is timed ends with the library's encodings: taking the ids out of them into
lists of Python, let alone into a column, is not counted.
"""
import argparse
import hashlib
import json
import pathlib
import struct
import time

from tokenizers import Tokenizer

BATCH = 1024


def main():
    args = argparse.ArgumentParser()
    args.add_argument("task")
    args.add_argument("--input", type=pathlib.Path, required=True)
    args.add_argument("--passes", type=int, default=5)
    args = args.parse_args()
    tok = Tokenizer.from_file(str(args.input / f"{args.task}.json"))
    tok.no_padding()
    tok.no_truncation()
    texts = [json.loads(line)["text"] for line in (args.input / "texts.jsonl").open()]
    batches = [texts[i:i + BATCH] for i in range(0, len(texts), BATCH)]
    digest = hashlib.sha256()
    for batch in batches:
        for e in tok.encode_batch_fast(batch):
            digest.update(struct.pack(f"<I{len(e.ids)}I", len(e.ids), *e.ids))
    used, begin = time.process_time(), time.monotonic()
    for _ in range(args.passes):
        for batch in batches:
            tok.encode_batch_fast(batch)
    end, used = time.monotonic(), time.process_time() - used
    print(json.dumps({"begin": begin, "first": None, "last": None, "end": end, "first_rows": 0, "rows": len(texts) * args.passes,
                      "cpu": used, "checksum": {"ids": digest.hexdigest()}}))


if __name__ == "__main__":
    main()
