#!/usr/bin/env python3
"""Run commands in alternation and print the medians.

    compare.py [--runs N] [--events E --bytes B] [--reset PATH] NAME=COMMAND [NAME=COMMAND…]

In each round every command runs once, in the order given, as a whole process (its start counts); the first round
is a warm-up and is not counted. Measured by the system: wall seconds, CPU seconds of the process and its children,
and the largest resident memory. Where a command's last line of output is JSON with `seconds`, that is its own time:
rates (with `--events` and `--bytes`) and ratios (to the first command) use it, so that the start of a Python does
not count against a library; for the others they use the wall time. `--reset PATH` removes a folder before each run.
The last line is JSON.
"""
import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
import time


def run_once(command):
    """One process: wall and CPU seconds, largest resident MiB, and its own JSON (None where it prints none)."""
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        pid = os.posix_spawnp(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)]
        )
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        out.seek(0)
        text = out.read().decode(errors="replace").strip()
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(f"compare.py: {shlex.join(command)} ended with {code}\n{text[-2000:]}")
    try:
        own = json.loads(text.splitlines()[-1])
        own = own if isinstance(own, dict) else None
    except (IndexError, ValueError):
        own = None
    # Linux counts KiB, macOS bytes.
    resident = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"wall": seconds, "cpu": usage.ru_utime + usage.ru_stime, "mib": resident, "own": own}


def medians(runs, events, size):
    result = {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "mib")}
    result |= {"fastest": min(run["wall"] for run in runs), "slowest": max(run["wall"] for run in runs)}
    own = [run["own"]["seconds"] for run in runs if run["own"] and "seconds" in run["own"]]
    if len(own) == len(runs):
        result["own_seconds"] = statistics.median(own)
    result["seconds"] = result.get("own_seconds", result["wall"])
    if events:
        result["events_per_s"] = round(events / result["seconds"])
    if size:
        result["mb_per_s"] = round(size / result["seconds"] / 1e6, 1)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--events", type=int)
    parser.add_argument("--bytes", type=int)
    parser.add_argument("--reset", help="a folder to remove before each run")
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    args = parser.parse_args()
    commands = {}
    for text in args.commands:
        name, separator, command = text.partition("=")
        if not separator or not command:
            parser.error(f"{text!r} is not NAME=COMMAND")
        commands[name] = shlex.split(command)

    runs = {name: [] for name in commands}
    for round_number in range(args.runs + 1):
        for name, command in commands.items():
            if args.reset:
                shutil.rmtree(args.reset, ignore_errors=True)
            outcome = run_once(command)
            if round_number:
                runs[name].append(outcome)
            label = f"round {round_number}" if round_number else "warm-up"
            print(f"{label}: {name} {outcome['wall']:.2f} s", file=sys.stderr)

    results = {name: medians(outcomes, args.events, args.bytes) for name, outcomes in runs.items()}
    base = next(iter(results.values()))["seconds"]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; medians of {args.runs}, alternating")
    print(f"{'':<16} {'wall s':>8} {'range':>14} {'CPU s':>8} {'events/s':>10} {'MB/s':>8} {'RSS MiB':>8} {'own s':>8} {'ratio':>7}")
    for name, r in results.items():
        span = f"{r['fastest']:.2f}-{r['slowest']:.2f}"
        rate = f"{r['events_per_s']:,}" if "events_per_s" in r else ""
        own = f"{r['own_seconds']:.2f}" if "own_seconds" in r else ""
        print(f"{name:<16} {r['wall']:>8.2f} {span:>14} {r['cpu']:>8.2f} {rate:>10} {r.get('mb_per_s', ''):>8} "
              f"{r['mib']:>8.0f} {own:>8} {r['seconds'] / base:>7.2f}")
    print(json.dumps({name: {k: round(v, 3) for k, v in r.items()} for name, r in results.items()}))


if __name__ == "__main__":
    main()
