"""Daft on its native runner as its users write it: Parquet, a class UDF with a model, Parquet."""
import os

os.environ["DAFT_PROGRESS_BAR"] = "0"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))   # the processes of the UDF import what this one does

import daft  # noqa: E402

import common  # noqa: E402
import text_common as text  # noqa: E402


def main():
    parser = common.arguments("daft")
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sort", type=int, default=0)
    args = parser.parse_args()
    kind = daft.DataType.fixed_size_list(daft.DataType.float32(), text.DIM)

    class Embed:
        def __init__(self, threads, sort):
            self.embed = text.Embedder(threads, sort)

        @daft.method.batch(return_dtype=kind, batch_size=1024 if args.sort else args.batch)
        def __call__(self, texts: daft.Series):
            return text.column(self.embed(texts.to_pylist()))

    daft.set_runner_native()
    run = common.Run()
    embed = daft.cls(Embed, max_concurrency=args.callers, use_process=True)(args.threads, args.sort)
    df = daft.read_parquet(args.input + "/*.parquet")
    df.with_column("embedding", embed(df["text"])).write_parquet(args.output, compression="snappy")
    run.finish(common.written(args.output))


if __name__ == "__main__":
    main()
