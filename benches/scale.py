"""The measuring part of scale.sh: points of a curve, each a whole replay into a fresh output.

A line of the table says what was varied and to what, the events read, wall seconds, the same per event, the largest resident memory,
and the bytes and files that the run added to the output.
"""
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import zlib
from pathlib import Path

from compare import run_once

COLUMNS = ("kind", "value", "live_segments", "events", "seconds", "events_per_s", "us_per_event", "rss_mib", "output_mb", "files")
WINDOWS = ("30m", "6h", "24h", "7d")
SEGMENTS = (10, 100, 1_000, 10_000, 100_000)
PARTITIONS = (1, 4, 16, 64)
HISTORY = (1, 7, 28)
# Share of the memory that is free which a point may be expected to need.
ROOM = 0.7
SESSION = re.compile(rb'"session_id":"([^"]+)"')
TENANT = re.compile(rb'"tenant":"[^"]*"')

binary, work, table, events, runs, only = sys.argv[1:]
work, table, events, runs, only = Path(work), Path(table), int(events), int(runs), set(only.split(","))
out = work / "out"
lines = []


def say(text):
    print(text, file=sys.stderr)


def config(name, text=""):
    path = work / f"{name}.toml"
    path.write_text(text)
    return str(path)


def replay(settings, inputs):
    return [binary, "replay", "--quiet", "--json", "-c", settings, *map(str, inputs), "-o", str(out)]


def weight(folder):
    """Bytes and files below a folder."""
    sizes = [f.stat().st_size for f in folder.rglob("*") if f.is_file()]
    return sum(sizes), len(sizes)


def generate(name, *arguments):
    path = work / name
    subprocess.run([binary, "generate", "--quiet", *arguments, str(path)], check=True)
    return path


def live_segments():
    query = ("SELECT count(DISTINCT segment) AS live FROM windows WHERE \"window\" = '24h' AND window_end = "
             "(SELECT max(window_end) FROM windows WHERE \"window\" = '24h')")
    made = subprocess.run([binary, "sql", "--quiet", "-o", str(out), "--format", "nd-json", "-e", query],
                          check=True, capture_output=True, text=True)
    return json.loads(made.stdout.splitlines()[-1])["live"]


def point(kind, value, settings, inputs, before=None, live=False):
    """Measures one point, from a fresh output or from a copy of an earlier one."""
    measured = []
    for _ in range(runs):
        shutil.rmtree(out, ignore_errors=True)
        if before:
            shutil.copytree(before, out)
            os.sync()
        had = weight(out) if before else (0, 0)
        outcome = run_once(replay(settings, inputs))
        outcome["bytes"], outcome["files"] = (now - then for now, then in zip(weight(out), had))
        measured.append(outcome)
    read = measured[0]["own"]["events"]
    median = {key: statistics.median(m[key] for m in measured) for key in ("wall", "mib", "bytes", "files")}
    line = {
        "kind": kind, "value": value, "live_segments": live_segments() if live else "", "events": read,
        "seconds": round(median["wall"], 3), "events_per_s": round(read / median["wall"]),
        "us_per_event": round(median["wall"] / read * 1e6, 1), "rss_mib": round(median["mib"]),
        "output_mb": round(median["bytes"] / 1e6, 2), "files": round(median["files"]),
    }
    lines.append(line)
    # As soon as it is known: what comes later may fail.
    with open(table, "w") as f:
        f.write("\t".join(COLUMNS) + "\n")
        f.writelines("\t".join(str(x[c]) for c in COLUMNS) + "\n" for x in lines)
    say(f"{kind} {value}: {line['seconds']} s, {line['rss_mib']} MiB")
    return line


def partitions():
    settings = config("partitions")
    for n in PARTITIONS:
        archive = work / f"partitions-{n}"
        if archive.is_dir():
            point("partitions", n, settings, [archive / "archive"])
            shutil.rmtree(archive)


def segments():
    source = generate("segments.jsonl", "--events", str(events), "--days", "1")
    spread = work / "spread.jsonl"
    measured = []
    for n in SEGMENTS:
        needed = expected(measured, n)
        if needed and needed > ROOM * available():
            say(f"segments {n}: left out, {needed:.0f} MiB expected and {available():.0f} MiB free")
            continue
        with open(source, "rb") as from_, open(spread, "wb") as to:
            for line in from_:
                tenant = zlib.crc32(SESSION.search(line)[1]) % n
                to.write(TENANT.sub(b'"tenant":"t-%06d"' % tenant, line, count=1))
        settings = config("segments", f'[windows]\nrolling = ["30m", "24h"]\nmax_segments = {n + 1}\n\n[[segments]]\nby = ["tenant"]\n')
        measured.append(point("segments", n, settings, [spread], live=True))
    spread.unlink(missing_ok=True)
    source.unlink()


def expected(measured, n):
    """MiB for n segments, by the growth between the last two points; None before there are two."""
    if len(measured) < 2:
        return None
    a, b = measured[-2:]
    return b["rss_mib"] + (b["rss_mib"] - a["rss_mib"]) / (b["value"] - a["value"]) * (n - b["value"])


def available():
    """MiB that are free; endless where the system doesn't say."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return float("inf")
    return int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) / 1024


def windows():
    source = generate("windows.jsonl", "--events", str(events), "--days", "2")
    for n in range(1, len(WINDOWS) + 1):
        point("windows", n, config("windows", f"[windows]\nrolling = {json.dumps(WINDOWS[:n])}\n"), [source])
    source.unlink()


def history():
    per_day, longest = max(events // 15, 1), max(HISTORY)
    settings, made = config("history"), work / "history"
    source = subprocess.Popen([binary, "generate", "--quiet", "--events-per-day", str(per_day), "--days", str(longest + 1), "-"],
                              stdout=subprocess.PIPE)
    # An archive's files end with their days.
    subprocess.run([binary, "archive", "--quiet", "-c", settings, "-o", str(made), "-"], stdin=source.stdout, check=True,
                   stdout=subprocess.DEVNULL)
    if source.wait():
        sys.exit("scale.py: the events of the history could not be generated")
    days = sorted((made / "archive").glob("date=*"))
    before = work / "before"
    for n in HISTORY:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)
        say(f"history {n}: replaying the days before")
        run_once(replay(settings, days[-1 - n:-1]))
        out.rename(before)
        point("history", n, settings, days[-1 - n:], before=before)


for kind in (partitions, segments, windows, history):
    if kind.__name__ in only:
        kind()
if not lines:
    sys.exit("scale.py: nothing was measured")
print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; {runs} run{'s' if runs > 1 else ''} a point")
heads = ("", "", "live", "events", "s", "events/s", "µs/event", "RSS MiB", "output MB", "files")
widths = (11, 8, 8, 9, 8, 9, 9, 8, 10, 7)
print(" ".join(f"{h:>{w}}" for h, w in zip(heads, widths)))
for line in lines:
    print(" ".join(f"{line[c]:>{w}}" for c, w in zip(COLUMNS, widths)))
