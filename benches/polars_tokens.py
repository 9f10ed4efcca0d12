#!/usr/bin/env python3
"""Token counts per day, region and model version from a JSONL archive, by Polars.

    polars_tokens.py FILE.jsonl[.gz|.zst] [--threads N] [--how NAME|all] [--json]

The same task as duckdb_tokens.py, with the same words. Polars is told the columns that it needs and their types.
"""
import argparse
import json
import os
import sys
import time

SPLIT = r"[^\p{L}\p{N}]+"
WORD = r"[\p{L}\p{N}]+"
KEYS = ["day", "region", "version"]
FASTEST = "replace"


def events(pl, path):
    schema = {
        "timestamp": pl.String,
        "region": pl.String,
        "prompt": pl.Struct({"text": pl.String}),
        "model": pl.Struct({"version": pl.String}),
    }
    return pl.scan_ndjson(path, schema=schema).select(
        day=pl.col("timestamp").str.slice(0, 10).str.to_date("%Y-%m-%d"),
        region="region",
        version=pl.col("model").struct.field("version"),
        text=pl.col("prompt").struct.field("text"),
    )


def hows(pl, path):
    """The formulations: each a lazy frame of day, region, version, token, n."""
    lower = pl.col("text").str.to_lowercase()
    extract = lower.str.extract_all(WORD)
    replace = lower.str.replace_all(SPLIT, " ").str.split(" ")

    def count(tokens):
        frame = events(pl, path).select(*KEYS, token=tokens).explode("token")
        return frame.filter(pl.col("token") != "").group_by(*KEYS, "token").agg(n=pl.len())

    distinct = (
        events(pl, path).group_by(*KEYS, "text").agg(events=pl.len())
        .select(*KEYS, "events", token=extract).explode("token").filter(pl.col("token") != "")
        .group_by(*KEYS, "token").agg(n=pl.col("events").sum())
    )
    return {"extract": count(extract), "replace": count(replace), "distinct": distinct}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--how", choices=["extract", "replace", "distinct", "all"], default=FASTEST)
    parser.add_argument("--engine", choices=["streaming", "in-memory"], default="streaming")
    parser.add_argument("--events", type=int, help="the number of events, if known; else they are counted first")
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    args = parser.parse_args()

    os.environ["POLARS_MAX_THREADS"] = str(args.threads)  # read when polars is imported
    import polars as pl

    frames = hows(pl, args.file)
    total = args.events
    if total is None:
        total = pl.scan_ndjson(args.file, schema={"region": pl.String}).select(pl.len()).collect().item()
    size = os.path.getsize(args.file)
    results = set()
    for how in frames if args.how == "all" else [args.how]:
        begin = time.perf_counter()
        frame = frames[how].collect(engine=args.engine)
        seconds = time.perf_counter() - begin
        rows, tokens = frame.height, int(frame["n"].sum())
        results.add((rows, tokens))
        figures = {
            "engine": f"polars {pl.__version__}", "how": how, "threads": args.threads,
            "seconds": round(seconds, 3), "events": total, "events_per_s": round(total / seconds),
            "mb_per_s": round(size / seconds / 1e6, 1), "rows": rows, "tokens": tokens,
        }
        print(json.dumps(figures) if args.json else
              f"{figures['engine']} {how:9} {args.threads} threads  {seconds:7.2f} s  "
              f"{figures['events_per_s']:>9,} events/s  {figures['mb_per_s']:>7} MB/s of file  "
              f"{rows:,} rows, {tokens:,} tokens", flush=True)
    if len(results) > 1:
        sys.exit("polars_tokens.py: the formulations disagree")


if __name__ == "__main__":
    main()
