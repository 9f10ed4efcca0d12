"""The measuring part of parquet.sh: a replay of an archive and a scan of all of its columns in turn, and the replay's share of the
scan's rate.

Both are whole processes of the same binary, so that neither is charged with a start that the other doesn't have. The first round is a
warm-up, after which the archive is in the page cache.
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from compare import run_once

GOAL = 0.5

binary, config, work, runs = sys.argv[1:]
work, runs = Path(work), int(runs)
archive, out = work / "archive", work / "out"
table = work / "table.sql"
table.write_text(f"CREATE EXTERNAL TABLE events STORED AS PARQUET LOCATION '{archive}/';\n")


def sql(query):
    return [binary, "sql", "--quiet", "-c", config, "-o", str(work / "empty"), "--format", "nd-json", str(table), "-e", query]


def aggregate(name, kind):
    """An aggregate that needs every value of a column of this type: no count, minimum or maximum, which a footer knows."""
    column = f'"{name}"'
    if kind.startswith("List"):
        return f"sum(cardinality({column}))"
    if kind.startswith("Utf8"):
        return f"sum(octet_length({column}))"
    if kind.startswith("Float"):
        return f"sum({column})"
    if kind.startswith("Timestamp"):
        return f"bit_xor(arrow_cast({column}, 'Int64'))"
    if kind == "Boolean":
        return f"sum(CAST({column} AS INT))"
    return f"bit_xor({column})"


columns = subprocess.run(
    sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'events' AND column_name <> 'date'"),
    check=True, capture_output=True, text=True,
)
columns = [json.loads(line) for line in columns.stdout.splitlines() if line.strip()]
parts = [f"{aggregate(c['column_name'], c['data_type'])} AS c{i}" for i, c in enumerate(columns)]
scan = sql(f"SELECT count(*) AS events, {', '.join(parts)} FROM events")
replay = [binary, "replay", "--quiet", "--json", "-c", config, str(archive), "-o", str(out)]

replays, scans = [], []
for number in range(runs + 1):
    shutil.rmtree(out, ignore_errors=True)
    whole, plain = run_once(replay), run_once(scan)
    # A message that is no event is not in the archive.
    if not whole["own"] or not plain["own"] or whole["own"]["events"] != plain["own"]["events"]:
        sys.exit(f"parquet_share.py: the replay and the scan did not read the same events: {whole['own']}, {plain['own']}")
    print(f"{'round ' + str(number) if number else 'warm-up'}: replay {whole['wall']:.2f} s, scan {plain['wall']:.2f} s",
          file=sys.stderr)
    if number:
        replays.append(whole)
        scans.append(plain)

events = whole["own"]["events"]
size = sum(f.stat().st_size for f in archive.rglob("*.parquet"))
result = {"events": events, "bytes": size, "columns": len(columns), "runs": runs}
print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; medians of {runs}, alternating; "
      f"{events:,} events, {len(columns)} columns, {size / 1e6:.1f} MB of Parquet")
print(f"{'':<8} {'wall s':>8} {'range':>14} {'CPU s':>8} {'events/s':>12} {'MB/s':>8} {'RSS MiB':>8}")
for name, outcomes in (("replay", replays), ("scan", scans)):
    wall = statistics.median(o["wall"] for o in outcomes)
    r = result[name] = {
        "wall": round(wall, 3), "fastest": round(min(o["wall"] for o in outcomes), 3),
        "slowest": round(max(o["wall"] for o in outcomes), 3),
        "cpu_s": round(statistics.median(o["cpu"] for o in outcomes), 2), "events_per_s": round(events / wall),
        "mb_per_s": round(size / wall / 1e6, 1), "rss_mib": round(statistics.median(o["mib"] for o in outcomes)),
    }
    span = f"{r['fastest']:.2f}-{r['slowest']:.2f}"
    print(f"{name:<8} {wall:>8.2f} {span:>14} {r['cpu_s']:>8.2f} {r['events_per_s']:>12,} {r['mb_per_s']:>8} {r['rss_mib']:>8}")
result["share"] = round(result["scan"]["wall"] / result["replay"]["wall"], 3)
print(f"the replay reaches {result['share']:.3f} of a plain scan (goal {GOAL})")
print(json.dumps(result))
