"""Daft on its native runner: an identity UDF over all columns, as a function, as a class, or as a class in actors.

The UDF gives the columns back as one struct, which Daft takes apart again. A UDF a column is Daft's other way to
say this; it takes three times as long where the UDF has processes of its own, and the same time where it has not.
"""
import os

os.environ["DAFT_PROGRESS_BAR"] = "0"
os.environ["DO_NOT_TRACK"] = "1"

import daft  # noqa: E402
import pyarrow as pa  # noqa: E402

import common  # noqa: E402


def packed(columns):
    """The columns as one column of structs, without a copy."""
    return pa.StructArray.from_arrays([c.to_arrow() for c in columns], [c.name() for c in columns])


def through(df, args):
    """df, all its columns through the identity."""
    columns = [df[f.name] for f in df.schema()]
    how = {"return_dtype": daft.DataType.struct({f.name: f.dtype for f in df.schema()}), "unnest": True, "batch_size": args.batch}

    @daft.func.batch(**how)
    def function(*columns: daft.Series):
        return packed(columns)

    class Identity:
        @daft.method.batch(**how)
        def __call__(self, *columns: daft.Series):
            return packed(columns)

    if args.kind == "function":
        return df.select(function(*columns))
    # with a number of instances asked for, Daft gives each a process; without, it calls the class as it calls a function
    pool = {"max_concurrency": common.CPUS, "use_process": True} if args.kind == "actors" else {}
    return df.select(daft.cls(Identity, **pool)()(*columns))


def main():
    parser = common.arguments("scan", "lines", "write")
    parser.add_argument("--kind", choices=("function", "class", "actors"), default="function")
    args = parser.parse_args()
    daft.set_runner_native()
    run, rows = common.Run(), None
    if args.task == "write":
        through(daft.read_parquet(args.input + "/*.parquet"), args).write_parquet(args.output, compression="snappy")
        rows = common.written(args.output)
    else:
        if args.task == "lines":
            df = daft.read_text(args.input + "/*.txt", skip_blank_lines=False)
        else:
            df = through(daft.read_parquet(args.input + "/*.parquet"), args)
        for batch in df.to_arrow_iter():
            run.batch(batch)
    run.finish(rows)


if __name__ == "__main__":
    main()
