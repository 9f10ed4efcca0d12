"""The measuring part of restart.sh: replays all but the end of the events, then starts the replay again with the end, from copies."""
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare import run_once

GOAL_SECONDS, GOAL_MIB = 2.0, 1024
POLL = 0.005

binary, config, work, rest, runs = sys.argv[1:]
work, rest, runs = Path(work), float(rest), int(runs)
events, ending = work / "events.jsonl", work / "ending.jsonl"
archive, first = work / "made" / "archive", work / "first"
TIME = re.compile(rb'"timestamp":"([^"]+)"')


def time_of(line):
    return TIME.search(line)[1]


def cut():
    """Takes the last minutes of the events out of their file. Returns them, and how many events stay."""
    with open(events, "rb") as f:
        f.seek(-min(1 << 16, events.stat().st_size), os.SEEK_END)
        last = datetime.datetime.fromisoformat(time_of(f.readlines()[-1]).decode())
        # Times are in order and of one form, so that they sort as text.
        at = last - datetime.timedelta(minutes=rest)
        # At a tick: what begins before the evaluation's last one can't continue it.
        at = (at - datetime.timedelta(minutes=at.minute % 5)).replace(second=0, microsecond=0)
        at = at.strftime("%Y-%m-%dT%H:%M:%S").encode()
        f.seek(0)
        kept = place = 0
        for line in f:
            if time_of(line) >= at:
                break
            kept, place = kept + 1, place + len(line)
        f.seek(place)
        tail = f.read()
    if not kept or not tail:
        sys.exit(f"restart.py: the last {rest:g} minutes are all of the events or none of them")
    os.truncate(events, place)
    return tail, kept


def archived(file):
    """Archives a further file of events."""
    subprocess.run([binary, "archive", "--quiet", "-c", config, "-o", str(work / "made"), str(file)],
                   check=True, stdout=subprocess.DEVNULL)


def replay(output):
    return [binary, "replay", "--quiet", "--json", "-c", config, str(archive), "-o", str(output)]


def windows(output):
    return {str(f) for f in (output / "windows").glob("*/*.parquet")}


def restarted(output):
    """Starts the replay again. Seconds to the first new file of windows, and to the end; largest resident MiB."""
    before = windows(output)
    found = None
    with open(work / "out", "w+b") as out:
        begin = time.perf_counter()
        command = replay(output)
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)])
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if found is None and not windows(output) <= before:
                found = time.perf_counter() - begin
            if ended:
                break
            time.sleep(POLL)
        whole = time.perf_counter() - begin
        out.seek(0)
        text = out.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if code != 0 or found is None:
        sys.exit(f"restart.py: the replay ended with {code}, {'without' if found is None else 'with'} new windows\n{text[-2000:]}")
    mib = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"first": found, "whole": whole, "mib": mib, "events": json.loads(text.splitlines()[-1])["events"]}


def copied(source, target):
    """A copy that shares blocks where the file system can, written out, so that the run's own syncs don't wait for it."""
    shutil.rmtree(target, ignore_errors=True)
    if subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], stderr=subprocess.DEVNULL).returncode:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    os.sync()


tail, kept = cut()
archived(events)
print(f"replaying {kept} events", file=sys.stderr)
begun = run_once(replay(first))
live = subprocess.run(
    [binary, "sql", "--quiet", "-c", config, "-o", str(first), "--format", "nd-json", "-e",
     "SELECT count(DISTINCT segment) AS live FROM windows WHERE \"window\" = '24h' AND window_end = "
     "(SELECT max(window_end) FROM windows WHERE \"window\" = '24h')"],
    check=True, capture_output=True, text=True,
)
live = json.loads(live.stdout.splitlines()[-1])["live"]
ending.write_bytes(tail)
del tail
archived(ending)

measured = []
for number in range(runs):
    copied(first, work / "again")
    measured.append(restarted(work / "again"))
    print(f"restart {number + 1}: first windows after {measured[-1]['first']:.2f} s, all after {measured[-1]['whole']:.2f} s",
          file=sys.stderr)


def row(name, key):
    values = [m[key] for m in measured]
    print(f"{name:<34} {statistics.median(values):>9.2f} {f'{min(values):.2f}-{max(values):.2f}':>16}")


size = sum(f.stat().st_size for f in first.rglob("*") if f.is_file())
print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; {live:,} live segments, {kept:,} events before "
      f"and {measured[0]['events']:,} after, output {size / 1e6:.0f} MB; medians of {runs}")
print(f"{'':<34} {'median':>9} {'range':>16}")
row("start to first windows, s", "first")
row("start to end, s", "whole")
row("restart, RSS MiB", "mib")
print(f"{'first run, s':<34} {begun['wall']:>9.2f}")
print(f"{'first run, RSS MiB':<34} {begun['mib']:>9.2f}")
seconds, mib = statistics.median(m["first"] for m in measured), max([begun["mib"], *(m["mib"] for m in measured)])
print(f"goals: first windows within {GOAL_SECONDS:g} s: {'met' if seconds <= GOAL_SECONDS else 'not met'}; "
      f"at most {GOAL_MIB} MiB: {'met' if mib <= GOAL_MIB else 'not met'}")
print(json.dumps({
    "live_segments": live, "events_before": kept, "events_after": measured[0]["events"], "runs": runs,
    "first_windows_s": round(seconds, 3), "whole_s": round(statistics.median(m["whole"] for m in measured), 3),
    "restart_rss_mib": round(statistics.median(m["mib"] for m in measured)), "first_rss_mib": round(begun["mib"]),
    "first_run_s": round(begun["wall"], 2),
}))
