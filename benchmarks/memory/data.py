"""Makes Parquet files of long texts, as pyarrow writes them.

    build/peers/bin/python benchmarks/memory/data.py BYTES FILE [--rows-per-batch 1024]

Rows are an id and a text of 50,000 characters, row groups of 5,000 rows. pyarrow ends a page only behind a batch of
1,024 rows, so pages have 51 MB; with batches of 20 rows they have 1 MB.
"""
import argparse
import os
import pathlib
import random

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = 50_000
GROUP = 5_000
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


def words(size):
    """Text of random words, which compresses as text does not: hardly."""
    rng = random.Random(1)
    known = ["%x" % rng.getrandbits(40) for _ in range(20_000)]
    return " ".join(rng.choices(known, k=size // 11))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bytes", type=int)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--rows-per-batch", type=int, default=1024)
    args = parser.parse_args()
    text, rng = words(32 << 20), random.Random(2)
    rows = max(args.bytes // TEXT, 1)
    args.file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.file.with_suffix(".tmp")
    with pq.ParquetWriter(unfinished, SCHEMA, compression="snappy", use_dictionary=False, write_batch_size=args.rows_per_batch) as out:
        for first in range(0, rows, GROUP):
            ids = range(first, min(first + GROUP, rows))
            starts = [rng.randrange(len(text) - TEXT) for _ in ids]
            out.write_table(pa.table({"id": pa.array(ids, pa.int64()), "text": [text[s:s + TEXT] for s in starts]}, schema=SCHEMA))
    os.replace(unfinished, args.file)


if __name__ == "__main__":
    main()
