"""Ray Data on one machine: identity map_batches in tasks, or in two actors."""
import logging
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray  # noqa: E402

import common  # noqa: E402


def identity(batch):
    return batch


class Identity:
    def __call__(self, batch):
        return batch


def read(args):
    ds = ray.data.read_parquet(args.input, override_num_blocks=args.blocks)
    shared = {"batch_size": args.batch, "batch_format": "pyarrow", "zero_copy_batch": True}
    if args.kind == "function":
        return ds.map_batches(identity, **shared)
    # half a CPU each: with whole ones the actors would leave none to those that read
    return ds.map_batches(Identity, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=0.5, **shared)


def consume(ds, run):
    for batch in ds.iter_batches(batch_size=None, batch_format="pyarrow"):
        run.batch(batch)


def main():
    parser = common.arguments("scan", "lines", "write")
    parser.add_argument("--kind", choices=("function", "class"), default="function")
    parser.add_argument("--blocks", type=int, help="blocks that are asked for at least")
    parser.add_argument("--block-mib", type=int, default=128, help="size that Ray cuts blocks to")
    parser.add_argument("--source", choices=("v1", "v2"), default="v2", help="which of Ray's Parquet sources")
    args = parser.parse_args()
    ray.init(num_cpus=common.CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = args.block_mib << 20
    context.use_datasource_v2 = args.source == "v2"
    logging.getLogger("ray").setLevel(logging.ERROR)
    run, rows = common.Run(), None
    if args.task == "scan":
        consume(read(args), run)
    elif args.task == "lines":
        consume(ray.data.read_text(args.input, drop_empty_lines=False, override_num_blocks=args.blocks), run)
    else:
        read(args).write_parquet(args.output)
        rows = common.written(args.output)
    run.finish(rows)
    ray.shutdown()


if __name__ == "__main__":
    main()
