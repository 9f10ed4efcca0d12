"""The measuring part of kafka.sh: a bare drain and a whole job in turn, and the job's share of the drain's rate.

Each run of the job has a group and an output folder of its own, so that it reads the topic from its beginning. The
rates are those that the programs measure themselves (`seconds` in the JSON that they print); the job's wall time,
with its start and its end, stands beside. The first round is a warm-up.
"""
import json
import statistics
import sys
from pathlib import Path

from compare import run_once

binary, template, broker, topic, events, runs, work = sys.argv[1:]
events, runs, work = int(events), int(runs), Path(work)


def job(number):
    config = work / f"run-{number}.toml"
    config.write_text(
        f'[input]\nkafka = {{ brokers = "{broker}", topic = "{topic}", group = "bench-{number}" }}\n'
        f'[output]\ndir = "{(work / f"out-{number}").as_uri()}"\n' + Path(template).read_text()
    )
    return [binary, "run", "-c", str(config), "--until-caught-up", "--json", "--quiet"]


def measured(name, command):
    outcome = run_once(command)
    own = outcome["own"]
    if not own or "events" not in own:
        sys.exit(f"kafka_share.py: {name} printed no JSON line with its events")
    if own["events"] != events:
        sys.exit(f"kafka_share.py: {name} read {own['events']} of {events} events")
    outcome["seconds"] = own.get("seconds", outcome["wall"])
    return outcome


drains, jobs = [], []
for number in range(runs + 1):
    drain = measured("bench-drain", [binary, "bench-drain", "--brokers", broker, "--topic", topic])
    whole = measured("run", job(number))
    print(f"{'round ' + str(number) if number else 'warm-up'}: drain {drain['seconds']:.2f} s, "
          f"run {whole['seconds']:.2f} s (wall {whole['wall']:.2f} s)", file=sys.stderr)
    if number:
        drains.append(drain)
        jobs.append(whole)


def median(outcomes, key):
    return statistics.median(outcome[key] for outcome in outcomes)


size = drains[0]["own"].get("bytes")
result = {"events": events, "bytes": size, "runs": runs}
for name, outcomes in (("drain", drains), ("run", jobs)):
    seconds = median(outcomes, "seconds")
    result[name] = {
        "seconds": round(seconds, 3), "wall": round(median(outcomes, "wall"), 3),
        "events_per_s": round(events / seconds), "cpu_s": round(median(outcomes, "cpu"), 2),
        "rss_mib": round(median(outcomes, "mib")),
    } | ({"mb_per_s": round(size / seconds / 1e6, 1)} if size else {})
    print(f"{name:<6} {seconds:>8.2f} s  {events / seconds:>10,.0f} events/s  {result[name].get('mb_per_s', ''):>7} MB/s  "
          f"CPU {result[name]['cpu_s']} s  RSS {result[name]['rss_mib']} MiB  wall {result[name]['wall']} s")
result["share"] = round(result["drain"]["seconds"] / result["run"]["seconds"], 3)
print(f"the job reaches {result['share']:.1%} of a bare read")
print(json.dumps(result))
