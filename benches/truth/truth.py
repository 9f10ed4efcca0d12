#!/usr/bin/env python3
"""How often the default settings page, and what they find: archives with a known truth, replayed.

    benches/truth/truth.py [--seeds N] [--first SEED] [--only NAME,…] [--events N] [--days N] [--dir DIR] [--csv FILE]

Each scenario is generated traffic, once per seed. Null scenarios have no incident: every rule of severity high
that starts to fire is a false page. The others have one incident that begins on day 19: it is found by the first
alert whose segment overlaps the incident's and whose feature the incident changes. Prints one line a run, then a
table: false pages a quarter, incidents found, and the median delay in hours.

DRIFTGLASS is the binary, `driftglass` from PATH by default. Needs nothing but Python's standard library.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

BINARY = os.environ.get("DRIFTGLASS", "driftglass")
BEGIN = datetime(2026, 1, 5, tzinfo=timezone.utc)          # a Monday
INCIDENT_DAY = 19
IMAGE = ["embedding", "content_mix", "style_mix", "style_distance", "aesthetic", "clip_i"]
LATENCY = ["latency_ms", "latency_tail", "cost_usd", "cost_tail"]
PROMPT = ["prompt_tokens", "prompt_length", "style_collection", "language"]


def at(days):
    return (BEGIN + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def incident(kind, parameters, features, segment="tenant=birch", end=None):
    until = f"..{at(end)}" if end else ""
    return {"incidents": [f"{kind}:{segment}:{at(INCIDENT_DAY)}{until}:{parameters}"], "features": features,
            "segment": segment, "end": end}


NULL = {
    "null": [],
    "day and night": ["style-shift:all:{0}:share=0.3,hours=20-6", "language-shift:all:{0}:share=0.2,to=ja,hours=20-6",
                      "latency-tail:all:{0}:share=0.3,factor=1.5,hours=8-16"],
    "weekends": ["style-shift:all:{0}:share=0.2,days=weekend", "language-shift:all:{0}:share=0.15,to=es,days=weekend"],
}
FOUND = {
    "new LoRA in half of the requests": incident("new-lora", "share=0.5", ["loras"]),
    "40 % German prompts": incident("language-shift", "share=0.4,to=de", PROMPT),
    "NSFW 2 to 7 %": incident("nsfw-rise", "factor=3.5", ["nsfw"]),
    "aesthetic lower": incident("aesthetic-drop", "delta=0.44", ["aesthetic", "clip_i", "accepted"]),
    "acceptance 42 to 30 %": incident("acceptance-drop", "factor=0.714", ["accepted"]),
    "6 % of requests 5 times slower": incident("latency-tail", "share=0.06,factor=5", LATENCY),
    "25 % of sessions to anime": incident("prompt-shift", "share=0.25", PROMPT + IMAGE),
    "the same by 6 points a day": incident("prompt-shift", "share=0.25,ramp=4.17", PROMPT + IMAGE),
    "recovery after four days": incident("prompt-shift", "share=0.6", PROMPT + IMAGE, end=INCIDENT_DAY + 4),
}


def run(*args, **more):
    done = subprocess.run([BINARY, *args], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"truth.py: {' '.join([BINARY, *args])} failed:\n{done.stderr}")
    return done.stdout


def parse_time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def overlaps(segment, other):
    """Whether two segments may share an event: no dimension has two values."""
    def pairs(s):
        return dict(p.split("=", 1) for p in s.split(",") if "=" in p)
    a, b = pairs(segment), pairs(other)
    return all(b.get(k, v) == v for k, v in a.items())


def replay(name, incidents, seed, args, folder):
    """The alerts of one archive that began to fire, as (time, severity, segment, feature)."""
    events, config, alerts = folder / "events.jsonl", folder / "job.toml", folder / "alerts.jsonl"
    flags = [flag for text in incidents for flag in ("--incident", text)]
    run("generate", str(events), "--days", str(args.days), "--events", str(args.events), "--seed", str(seed),
        "--start", BEGIN.strftime("%Y-%m-%dT00:00:00Z"), "-q", *flags)
    config.write_text(f'[privacy]\nkey = "truth"\n[alerts]\njsonl = "{alerts}"\n', encoding="utf-8")
    began = time.monotonic()
    run("replay", "-c", str(config), "-o", str(folder / "out"), str(events), "-q")
    fired = []
    for line in alerts.read_text(encoding="utf-8").splitlines() if alerts.exists() else []:
        alert = json.loads(line)
        if alert["state"] == "firing":
            fired.append((parse_time(alert["at"]), alert["severity"], alert["segment"], alert["feature"]))
    return sorted(set(fired)), time.monotonic() - began


def measure(name, seed, args):
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        scenario = FOUND.get(name)
        incidents = scenario["incidents"] if scenario else [t.format(at(0)) for t in NULL[name]]
        fired, seconds = replay(name, incidents, seed, args, Path(folder))
    row = {"scenario": name, "seed": seed, "seconds": round(seconds, 1), "firing": len(fired),
           "high": sum(f[1] in ("high", "critical") for f in fired)}
    if scenario:
        start = parse_time(at(INCIDENT_DAY))
        end = parse_time(at(scenario["end"])) if scenario["end"] else None
        ours = [f for f in fired if f[0] >= start and f[3] in scenario["features"] and overlaps(f[2], scenario["segment"])]
        others = [f for f in fired if f not in ours and f[1] in ("high", "critical")]
        row |= {"delay_h": round((ours[0][0] - start).total_seconds() / 3600, 1) if ours else "", "other_high": len(others)}
        if end:
            # A window that reaches into the incident may still find it; a day later none does.
            row["after_recovery"] = sum(f[0] > end + timedelta(days=1) for f in fired if f[1] in ("high", "critical"))
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--dir")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    wanted = [w.strip() for w in args.only.split(",") if w.strip()]
    names = [n for n in [*NULL, *FOUND] if not wanted or n in wanted]
    if unknown := set(wanted) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}: there are {', '.join([*NULL, *FOUND])}")
    rows = []
    for seed in range(args.first, args.first + args.seeds):
        for name in names:
            rows.append(measure(name, seed, args))
            print(json.dumps(rows[-1]), flush=True)
    if args.csv:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print()
    for name in names:
        own = [r for r in rows if r["scenario"] == name]
        if name in NULL:
            # The first week has no baseline.
            quarters = len(own) * (args.days - 7) / 90
            print(f"{name:<34} {sum(r['high'] for r in own) / quarters:6.2f} false high pages a quarter ({len(own)} archives)")
            continue
        delays = [r["delay_h"] for r in own if r["delay_h"] != ""]
        middle = f"{statistics.median(delays):.1f} h" if delays else "-"
        after = sum(r.get("after_recovery", 0) for r in own)
        recovered = f", {after} pages after recovery" if any("after_recovery" in r for r in own) else ""
        others = sum(r["other_high"] for r in own)
        print(f"{name:<34} found in {len(delays)} of {len(own)}, after {middle} (median), {others} other high pages{recovered}")


if __name__ == "__main__":
    main()
