"""Compares a Parquet file with an IPC file of the same rows, values and statistics, with pyarrow.

    build/peers/bin/python writers/testdata/compare.py want.arrow got.parquet
"""

import json
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq


def main():
    want = ipc.open_file(sys.argv[1]).read_all()
    got = pq.ParquetFile(sys.argv[2])
    table = got.read()
    assert table.schema.equals(want.schema), table.schema
    for name in want.column_names:
        assert table[name].equals(want[name]), name
    meta, at, codecs = got.metadata, 0, set()
    for g in range(meta.num_row_groups):
        group = meta.row_group(g)
        for c in range(group.num_columns):
            chunk = group.column(c)
            rows = want.column(c).slice(at, group.num_rows).combine_chunks()
            codecs.add(chunk.compression)
            stats = chunk.statistics
            assert stats.null_count == rows.null_count, chunk.path_in_schema
            assert stats.has_min_max == (rows.null_count < len(rows)), chunk.path_in_schema
            if stats.has_min_max and (pa.types.is_integer(rows.type) or pa.types.is_floating(rows.type) or pa.types.is_string(rows.type)):
                bounds = pc.min_max(rows).as_py()
                assert (stats.min, stats.max) == (bounds["min"], bounds["max"]), (chunk.path_in_schema, stats, bounds)
        at += group.num_rows
    # what a filter is pushed into by statistics is what it keeps of the rows
    some = want["few_int32"].drop_null()[0].as_py()
    pruned = pq.read_table(sys.argv[2], filters=[("few_int32", "=", some)])
    assert pruned.num_rows == pc.sum(pc.equal(want["few_int32"], some)).as_py()
    print(json.dumps({"rows": table.num_rows, "groups": meta.num_row_groups, "codecs": sorted(codecs)}))


main()
