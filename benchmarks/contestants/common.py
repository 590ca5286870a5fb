"""What the contestants in Python share: the checksum of columns, and the report of a run."""
import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MASK = (1 << 64) - 1


def as_integers(arr):
    """Fixed-width values as the integers of their bits, nulls kept."""
    t = arr.type
    if pa.types.is_floating(t):
        return arr.view(pa.int64() if t.bit_width == 64 else pa.int32())
    if pa.types.is_timestamp(t):
        return arr.view(pa.int64())
    return arr


def string_sums(arr):
    """The sum of the bytes, and how many there are."""
    width = np.int64 if pa.types.is_large_string(arr.type) else np.int32
    if arr.null_count:
        arr = arr.drop_null()
    if len(arr) == 0:
        return 0, 0
    _, offsets, data = arr.buffers()
    at = np.frombuffer(offsets, width, len(arr) + 1, arr.offset * np.dtype(width).itemsize)
    begin, end = int(at[0]), int(at[-1])
    if begin == end:
        return 0, 0
    return pc.sum(pa.Array.from_buffers(pa.uint8(), end - begin, [None, data], offset=begin)).as_py(), end - begin


class Checksum:
    """A sum over the columns of a table that does not depend on the order of the rows or on how they are cut.

    Per column: the number of nulls, the sum of the values, and for strings the number of bytes. Integers are summed as
    they are, floats and timestamps as the integers of their bits, booleans as 1 and 0, strings byte by byte; all modulo
    2^64. Every value of every column is read.
    """

    def __init__(self):
        self.rows, self.columns = 0, {}

    def add(self, batch):
        self.rows += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns):
            for arr in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                sums = self.columns.setdefault(name, [0, 0, 0])
                sums[0] += arr.null_count
                if pa.types.is_string(arr.type) or pa.types.is_large_string(arr.type):
                    total, size = string_sums(arr)
                    sums[2] += size
                else:
                    total = pc.sum(as_integers(arr)).as_py() or 0
                sums[1] = (sums[1] + total) & MASK

    def result(self):
        return {name: [str(v) for v in sums] for name, sums in sorted(self.columns.items())}


class Run:
    """The moments of a run, on the clock that all processes of the machine share."""

    def __init__(self):
        self.begin = time.monotonic()
        self.first = self.last = None
        self.first_rows = 0
        self.sum = Checksum()

    def batch(self, batch):
        """Takes rows that came out."""
        if self.first is None:
            self.first, self.first_rows = time.monotonic(), batch.num_rows
        self.sum.add(batch)
        self.last = time.monotonic()

    def finish(self, rows=None):
        """Prints the report, as the last line of the output."""
        report = {"begin": self.begin, "first": self.first, "last": self.last, "end": time.monotonic(),
                  "first_rows": self.first_rows, "rows": self.sum.rows if rows is None else rows, "checksum": self.sum.result()}
        sys.stdout.flush()
        print(json.dumps(report), flush=True)


def arguments(*tasks):
    args = argparse.ArgumentParser()
    args.add_argument("task", choices=tasks)
    args.add_argument("--input", required=True, help="folder that is read")
    args.add_argument("--output", help="folder that is written")
    args.add_argument("--batch", type=int, default=4096, help="rows per batch of the identity stage")
    return args


def inputs(folder, ext):
    return sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(ext))


def written(folder):
    """The rows of the Parquet files below a folder, by their footers."""
    return sum(pq.read_metadata(f).num_rows for f in pathlib.Path(folder).rglob("*.parquet"))


CPUS = len(os.sched_getaffinity(0))
