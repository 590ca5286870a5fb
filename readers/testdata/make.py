"""Writes the Parquet and IPC files of this folder with pyarrow, and what is in them as JSON.

    build/venv/bin/python readers/testdata/make.py

The files are small and committed: the tests need no Python.
"""

import datetime
import decimal
import json
import pathlib
import random

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent


def flat(n):
    """Columns of the usual types, each with nulls."""
    when = datetime.datetime(2024, 2, 29, 12, 0, 0, tzinfo=datetime.timezone.utc)
    some = lambda f: [None if i % 5 == 3 else f(i) for i in range(n)]
    return pa.table({
        "id": pa.array(range(n), pa.int64()),
        "text": pa.array(some(lambda i: "row %d: ünïcödé" % i)),
        "kind": pa.array(some(lambda i: "abc"[i % 3])).dictionary_encode(),
        "flag": pa.array(some(lambda i: i % 2 == 0)),
        "small": pa.array(some(lambda i: i - 60), pa.int8()),
        "word": pa.array(some(lambda i: i * 600), pa.uint16()),
        "big": pa.array(some(lambda i: 2**63 + i), pa.uint64()),
        "real": pa.array(some(lambda i: i / 8), pa.float32()),
        "double": pa.array(some(lambda i: i / 3), pa.float64()),
        "day": pa.array(some(lambda i: datetime.date(2024, 1, 1) + datetime.timedelta(days=i))),
        "when": pa.array(some(lambda i: when + datetime.timedelta(seconds=i)), pa.timestamp("us", "UTC")),
        "nanos": pa.array(some(lambda i: i * 1000), pa.timestamp("ns")),
        "price": pa.array(some(lambda i: decimal.Decimal(i) / 100), pa.decimal128(10, 2)),
        "raw": pa.array(some(lambda i: bytes([i, 0, 255])), pa.binary()),
        "code": pa.array(some(lambda i: b"%04d" % i), pa.binary(4)),
        "half": pa.array(some(lambda i: i), pa.float16()),
        "none": pa.nulls(n),
        "large": pa.array(some(lambda i: "x" * i), pa.large_string()),
    })


def nested(n):
    some = lambda f: [None if i % 4 == 2 else f(i) for i in range(n)]
    person = pa.struct([("name", pa.string()), ("age", pa.int32()), ("home", pa.struct([("city", pa.string())]))])
    return pa.table({
        "id": pa.array(range(n), pa.int64()),
        "list": pa.array(some(lambda i: [None if j == 2 else j for j in range(i % 5)]), pa.list_(pa.int32())),
        "vector": pa.array(some(lambda i: [i, i / 2, -i]), pa.list_(pa.float32(), 3)),
        "whole": pa.array([[i, i + 1] for i in range(n)], pa.list_(pa.float32(), 2)),
        "person": pa.array(some(lambda i: {"name": "n%d" % i, "age": None if i % 3 == 0 else i, "home": {"city": "c"} if i % 2 else None}), person),
        "people": pa.array(some(lambda i: [{"name": "p", "age": j, "home": None} for j in range(i % 3)]), pa.list_(person)),
        "grid": pa.array(some(lambda i: [[1] * j for j in range(i % 3)]), pa.list_(pa.list_(pa.int64()))),
        "pairs": pa.array(some(lambda i: [("k%d" % j, j) for j in range(i % 3)]), pa.map_(pa.string(), pa.int64())),
        "only": pa.array(some(lambda i: {"tags": None if i % 5 == 0 else ["t"] * (i % 3)}), pa.struct([("tags", pa.list_(pa.string()))])),
        "onlys": pa.array(some(lambda i: [{"tags": None if j == 1 else ["t"] * j} for j in range(i % 4)]), pa.list_(pa.struct([("tags", pa.list_(pa.string()))]))),
        "boxes": pa.array(some(lambda i: [[j, j, j, None] for j in range(i % 3)]), pa.list_(pa.list_(pa.int16(), 4))),
    })


def encodings(n):
    """Columns for the encodings that pyarrow writes only if it is asked to, with nulls in half of them."""
    rng = random.Random(3)
    some = lambda f, nulls: [None if nulls and rng.random() < 0.3 else f(i) for i in range(n)]
    columns = {}
    for nulls in (False, True):
        tail = "_null" if nulls else ""
        columns["i32" + tail] = pa.array(some(lambda i: rng.choice([i, -i, rng.randint(-2**31, 2**31 - 1)]), nulls), pa.int32())
        columns["i64" + tail] = pa.array(some(lambda i: i * 1000 + rng.randint(-5, 5) if i < n // 2 else rng.randint(-2**63, 2**63 - 1), nulls), pa.int64())
        columns["u64" + tail] = pa.array(some(lambda i: 2**63 + i, nulls), pa.uint64())
        columns["time" + tail] = pa.array(some(lambda i: 10**15 + i * rng.randint(1, 10), nulls), pa.timestamp("us"))
        columns["f32" + tail] = pa.array(some(lambda i: rng.random(), nulls), pa.float32())
        columns["f64" + tail] = pa.array(some(lambda i: rng.random(), nulls), pa.float64())
        columns["length" + tail] = pa.array(some(lambda i: "x%d" % i * (i % 4), nulls))
        columns["shared" + tail] = pa.array(some(lambda i: "https://example.org/%06d/%d" % (i // 7, rng.randint(0, 9)), nulls))
        columns["large" + tail] = pa.array(some(lambda i: "%09d" % (i * i), nulls), pa.large_string())
    return pa.table(columns)


def encoding(name):
    kinds = {"i": "DELTA_BINARY_PACKED", "u": "DELTA_BINARY_PACKED", "t": "DELTA_BINARY_PACKED", "f": "BYTE_STREAM_SPLIT"}
    return kinds.get(name[0], "DELTA_LENGTH_BYTE_ARRAY" if name.startswith("length") else "DELTA_BYTE_ARRAY")


def save_encodings():
    t = encodings(1500)
    with ipc.new_file(HERE / "encodings.arrow", t.schema, options=ipc.IpcWriteOptions(compression="zstd")) as w:
        w.write_table(t)
    how = {name: encoding(name) for name in t.column_names}
    pq.write_table(t, HERE / "encodings-v1.parquet", use_dictionary=False, column_encoding=how, data_page_size=2000, row_group_size=900, compression="zstd")
    pq.write_table(t, HERE / "encodings-v2.parquet", use_dictionary=False, column_encoding=how, data_page_version="2.0", compression="lz4")
    pq.write_table(t, HERE / "encodings-lz4.parquet", compression="lz4", row_group_size=900)
    fixed = pa.table({"x": pa.array([b"abcd", b"efgh"], pa.binary(4))})
    pq.write_table(fixed, HERE / "split.parquet", use_dictionary=False, use_byte_stream_split=True)


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (datetime.date, datetime.datetime, decimal.Decimal)) or hasattr(value, "isoformat"):
        return str(value)
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def save(name, table):
    rows = [plain(row) for row in table.to_pylist()]
    (HERE / (name + ".json")).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def main():
    a, b = flat(40), nested(30)
    save("flat.rows", a)
    save("nested.rows", b)
    for codec in ["none", "snappy", "zstd", "gzip", "brotli"]:
        pq.write_table(a, HERE / ("flat-%s.parquet" % codec), compression=codec, row_group_size=17)
    pq.write_table(a, HERE / "flat-v2.parquet", compression="snappy", row_group_size=17, data_page_version="2.0", data_page_size=64)
    pq.write_table(a, HERE / "flat-noschema.parquet", store_schema=False, row_group_size=17)
    pq.write_table(b, HERE / "nested.parquet", compression="zstd", row_group_size=13, data_page_size=32)
    pq.write_table(b, HERE / "nested-v2.parquet", compression="snappy", row_group_size=13, data_page_version="2.0", data_page_size=32)
    save_encodings()
    odd = pa.table({"d": pa.array([1, 2], pa.duration("s")), "v": pa.array(["a", "b"], pa.string_view()),
                    "l": pa.array([[1], []], pa.large_list(pa.int8())), "n": pa.array([1, None], pa.decimal32(5, 1))})
    pq.write_table(odd, HERE / "odd.parquet")
    # the dictionary outgrows its page, and the rest is written plain
    many = pa.array([None if i % 5 == 3 else "value %d" % (i * 7919 % 500) for i in range(2000)]).dictionary_encode()
    pq.write_table(pa.table({"many": many}), HERE / "fallback.parquet", dictionary_pagesize_limit=1024, data_page_size=512, compression="zstd")
    for name, t in [("flat", a), ("nested", b)]:
        with ipc.new_file(HERE / (name + ".arrow"), t.schema) as w:
            w.write_table(t, max_chunksize=17)
        with ipc.new_stream(HERE / (name + ".arrows"), t.schema) as w:
            w.write_table(t, max_chunksize=17)
    feather.write_feather(b, HERE / "nested.feather", compression="lz4", chunksize=11)


if __name__ == "__main__":
    main()
