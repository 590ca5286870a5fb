"""Ray Data as its users write it: Parquet, repartition, map_batches of a class in actors, Parquet.

Ray's Parquet reader makes one block of a small file, and one block keeps one actor busy: hence the repartition."""
import logging
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray  # noqa: E402

import common  # noqa: E402
import text_common as text  # noqa: E402


class Embed:
    def __init__(self, threads, sort):
        self.embed = text.Embedder(threads, sort)

    def __call__(self, table):
        return table.append_column("embedding", text.column(self.embed(table["text"].to_pylist())))


def main():
    parser = common.arguments("ray")
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sort", type=int, default=0)
    args = parser.parse_args()
    ray.init(num_cpus=common.CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
             runtime_env={"env_vars": {"PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}})
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray").setLevel(logging.ERROR)
    run = common.Run()
    ds = ray.data.read_parquet(args.input).repartition(target_num_rows_per_block=1024 if args.sort else 512)
    # a share of a CPU each: with whole ones the actors would leave none to those that read and write
    ds = ds.map_batches(Embed, fn_constructor_args=(args.threads, args.sort), batch_format="pyarrow", batch_size=1024 if args.sort else args.batch,
                        compute=ray.data.ActorPoolStrategy(size=args.callers), num_cpus=0.5)
    ds.write_parquet(args.output)
    run.finish(common.written(args.output))
    ray.shutdown()


if __name__ == "__main__":
    main()
