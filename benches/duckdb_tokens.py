#!/usr/bin/env python3
"""Token counts per day, region and model version from a JSONL archive, by DuckDB.

    duckdb_tokens.py FILE.jsonl[.gz|.zst] [--threads N] [--how NAME|all] [--json]

Only that: no sessions, embeddings, latency, baselines or tests, no Parquet written; the result stays in memory.
A token is a run of letters and digits of the lower-cased prompt. DuckDB is told the columns that it needs and
their types, so it skips all others. `--how all` runs every formulation and checks that they agree; the default is
the one that was fastest of those that tokenize every prompt. `distinct` tokenizes each distinct prompt of a group
once: a fair thing to do by hand for real re-rolls, but an archive enlarged with `--prompts own` is made of repeats.
"""
import argparse
import json
import os
import time

import duckdb

COLUMNS = {
    "timestamp": "TIMESTAMP",
    "region": "VARCHAR",
    "prompt": "STRUCT(text VARCHAR)",
    "model": "STRUCT(version VARCHAR)",
}
SPLIT = r"[^\p{L}\p{N}]+"
EVENTS = "SELECT timestamp::DATE AS day, region, model.version AS version, prompt.text AS text FROM source"
COUNT = """
SELECT day, region, version, token, count(*) AS n FROM (
    SELECT day, region, version, unnest({tokens}) AS token FROM ({events})
) WHERE token <> '' GROUP BY ALL"""
HOWS = {
    "extract": COUNT.format(events=EVENTS, tokens=r"regexp_extract_all(lower(text), '[\p{L}\p{N}]+')"),
    "split": COUNT.format(events=EVENTS, tokens=f"string_split_regex(lower(text), '{SPLIT}')"),
    "replace": COUNT.format(events=EVENTS, tokens=f"string_split(regexp_replace(lower(text), '{SPLIT}', ' ', 'g'), ' ')"),
    "distinct": f"""
SELECT day, region, version, token, sum(events)::BIGINT AS n FROM (
    SELECT day, region, version, events, unnest(string_split_regex(lower(text), '{SPLIT}')) AS token
    FROM (SELECT day, region, version, text, count(*) AS events FROM ({EVENTS}) GROUP BY ALL)
) WHERE token <> '' GROUP BY ALL""",
}
FASTEST = "split"


def run(path, threads, how):
    """Seconds, and what came out: events are counted apart, outside the time."""
    db = duckdb.connect(config={"threads": threads})
    db.execute("SET preserve_insertion_order = false")
    columns = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items()) + "}"
    quoted = path.replace("'", "''")
    db.execute(
        f"CREATE VIEW source AS SELECT * FROM "
        f"read_json('{quoted}', format = 'newline_delimited', columns = {columns})"
    )
    begin = time.perf_counter()
    db.execute(f"CREATE TEMP TABLE counts AS {HOWS[how]}")
    seconds = time.perf_counter() - begin
    rows, tokens, check = db.execute(
        "SELECT count(*), sum(n)::BIGINT, sum(hash(day, region, version, token, n::BIGINT)::HUGEINT)::VARCHAR FROM counts"
    ).fetchone()
    return seconds, {"rows": rows, "tokens": tokens}, check


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--how", choices=[*HOWS, "all"], default=FASTEST)
    parser.add_argument("--events", type=int, help="the number of events, if known; else they are counted first")
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    args = parser.parse_args()

    events = args.events
    if events is None:
        quoted = args.file.replace("'", "''")
        events = duckdb.connect().execute(
            f"SELECT count(*) FROM read_json('{quoted}', format = 'newline_delimited', columns = {{region: 'VARCHAR'}})"
        ).fetchone()[0]
    size = os.path.getsize(args.file)
    checks = set()
    for how in HOWS if args.how == "all" else [args.how]:
        seconds, result, check = run(args.file, args.threads, how)
        checks.add(check)
        figures = {
            "engine": f"duckdb {duckdb.__version__}", "how": how, "threads": args.threads,
            "seconds": round(seconds, 3), "events": events, "events_per_s": round(events / seconds),
            "mb_per_s": round(size / seconds / 1e6, 1), **result,
        }
        print(json.dumps(figures) if args.json else
              f"{figures['engine']} {how:9} {args.threads} threads  {seconds:7.2f} s  "
              f"{figures['events_per_s']:>9,} events/s  {figures['mb_per_s']:>7} MB/s of file  "
              f"{result['rows']:,} rows, {result['tokens']:,} tokens", flush=True)
    if len(checks) > 1:
        raise SystemExit("duckdb_tokens.py: the formulations disagree")


if __name__ == "__main__":
    main()
