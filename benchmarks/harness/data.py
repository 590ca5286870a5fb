"""Make the inputs of the benchmarks: Parquet files of eight columns, and text lines. Run with the peers' Python.

    build/peers/bin/python benchmarks/harness/data.py parquet build/bench/parquet-16000000 --rows 16000000
    build/peers/bin/python benchmarks/harness/data.py lines build/bench/lines-4000000 --rows 4000000

The same rows come out every time: the seed is fixed. A folder that is finished holds `.done` and is left as it is.
"""
import argparse
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20240501
FILES = 8
GROUP_ROWS = 250_000
CITIES = 1_000
SCHEMA = pa.schema([
    ("id", pa.int64()),
    ("user", pa.int32()),
    ("price", pa.float64()),    # 3 % null
    ("score", pa.float32()),
    ("active", pa.bool_()),
    ("time", pa.timestamp("us")),
    ("city", pa.string()),      # 4 to 24 bytes, 1,000 different ones
    ("comment", pa.string()),   # 0 to 100 bytes, all different
])


def words(rng, size):
    """About size bytes of made-up words of 2 to 12 letters with spaces between them."""
    text = rng.integers(ord("a"), ord("z") + 1, size=size, dtype=np.uint8)
    spaces = np.cumsum(rng.integers(3, 14, size=size // 3))
    text[spaces[spaces < size]] = ord(" ")
    return text


def strings(text, at, lengths):
    """An array of strings of the given lengths, cut one behind the other out of text from position at."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = np.take(text, np.arange(at, at + offsets[-1]), mode="wrap")
    return pa.Array.from_buffers(pa.string(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def record(rng, text, cities, first, n):
    """Rows first to first+n."""
    price = rng.gamma(2.0, 20.0, n)
    return pa.record_batch([
        pa.array(np.arange(first, first + n, dtype=np.int64)),
        pa.array(rng.integers(0, 2_000_000, n, dtype=np.int32)),
        pa.array(price, mask=rng.random(n) < 0.03),
        pa.array(rng.random(n, dtype=np.float32)),
        pa.array(rng.random(n) < 0.3),
        pa.array(1_700_000_000_000_000 + np.cumsum(rng.integers(0, 2_000_000, n))).cast(pa.timestamp("us")),
        pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, CITIES, n, dtype=np.int32)), cities).cast(pa.string()),
        strings(text, int(rng.integers(len(text))), rng.integers(0, 101, n, dtype=np.int32)),
    ], schema=SCHEMA)


def parquet(folder, rows):
    rng = np.random.default_rng(SEED)
    text = words(rng, 16 << 20)
    cities = strings(text, 0, rng.integers(4, 25, CITIES, dtype=np.int32))
    for f in range(FILES):
        at, end = rows * f // FILES, rows * (f + 1) // FILES
        with pq.ParquetWriter(folder / f"part-{f:02d}.parquet", SCHEMA, compression="snappy") as out:
            for first in range(at, end, GROUP_ROWS):
                n = min(GROUP_ROWS, end - first)
                out.write_batch(record(rng, text, cities, first, n), row_group_size=n)


def lines(folder, rows):
    rng = np.random.default_rng(SEED)
    text = words(rng, 16 << 20)
    for f in range(FILES):
        left = rows * (f + 1) // FILES - rows * f // FILES
        with open(folder / f"part-{f:02d}.txt", "wb") as out:
            while left:
                n = min(left, 100_000)
                ends = np.cumsum(rng.integers(1, 150, n) + 1)
                at = int(rng.integers(len(text)))
                chunk = np.take(text, np.arange(at, at + ends[-1]), mode="wrap")
                chunk[ends - 1] = ord("\n")
                chunk[np.concatenate(([0], ends[:-1]))] = ord("l")  # no line is blank: not all readers keep those
                out.write(chunk.tobytes())
                left -= n


def main():
    args = argparse.ArgumentParser()
    args.add_argument("kind", choices=("parquet", "lines"))
    args.add_argument("folder", type=pathlib.Path)
    args.add_argument("--rows", type=int, required=True)
    args = args.parse_args()
    if (args.folder / ".done").exists():
        return
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    {"parquet": parquet, "lines": lines}[args.kind](args.folder, args.rows)
    (args.folder / ".done").touch()


if __name__ == "__main__":
    main()
