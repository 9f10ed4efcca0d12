"""The measuring part of soak.sh: feeds a topic in real time, runs the job, looks at it every few seconds, and ends it."""
import datetime
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

EVERY = 5.0
# Memory is looked at from here on: before, buffers and caches fill.
SETTLED = 600.0
# Time that a job may take to start, and to end once it is told to.
START, END = 60.0, 120.0
# Time from the call to the first event, in which broker, generator and job get ready.
READY = 20.0
PARTS = ("open_panes", "waiting_panes", "chunks", "hours")
COLUMNS = ("seconds", "rss_mib", "lag", "events_total", "events_per_s", "evaluated", "behind_s", "cpu_s", *(f"{p}_mib" for p in PARTS))
PLACE = re.compile(rb'"session_id":"([^"]+)".*?"timestamp":"([^"]+)"')

binary, kafka_sh, work, broker, topic, minutes, rate, table, history_days, history_events = sys.argv[1:]
work, table, minutes, rate = Path(work), Path(table), float(minutes), float(rate)
history_days, history_events = float(history_days), float(history_events)
TICKS = os.sysconf("SC_CLK_TCK")


def generate(start, days, events, seed, *more):
    start = datetime.datetime.fromtimestamp(start, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [binary, "generate", "--quiet", "--start", start, "--days", repr(days), "--events", str(round(events)),
            "--seed", str(seed), *more]


class Feeder(threading.Thread):
    """Hands each generated event to a producer when its time has come."""

    def __init__(self, start, seconds):
        super().__init__(daemon=True)
        self.over, self.error, self.sent, self.late, self.start_at = threading.Event(), None, 0, 0.0, start
        self.source = subprocess.Popen(generate(start, seconds / 86400, rate * seconds, 2, "-"), stdout=subprocess.PIPE)
        # 20 ms, as in `driftglass generate`: without it the tool waits a second for more.
        self.sink = subprocess.Popen(
            [kafka_sh, "tool", str(work / "kafka"), "ConsoleProducer", "--topic", topic, "--timeout", "20",
             "--property", "parse.key=true", "--property", "key.separator=\t"],
            stdin=subprocess.PIPE, stdout=open(work / "producer.log", "wb"), stderr=subprocess.STDOUT,
            env={**os.environ, "JAVA_TOOL_OPTIONS": "-Xmx128m"}, start_new_session=True,
        )

    def run(self):
        try:
            for line in self.source.stdout:
                session, due = PLACE.search(line).groups()
                due = datetime.datetime.fromisoformat(due.decode()).timestamp()
                wait = due - time.time()
                # A few milliseconds at once: more would be a burst, fewer as many system calls as events.
                if wait > 0.005:
                    self.sink.stdin.flush()
                    if self.over.wait(wait):
                        return
                self.late = max(self.late, -wait)
                self.sink.stdin.write(session + b"\t" + line)
                self.sent += 1
            if not self.over.is_set():
                self.error = "the generator ended before the time was over"
        except (OSError, ValueError) as e:
            if not self.over.is_set():
                self.error = f"{e}; the end of the producer's log: {(work / 'producer.log').read_text()[-500:]}"

    def stop(self):
        self.over.set()
        self.source.terminate()
        self.source.wait()
        self.join(10)
        try:
            self.sink.stdin.close()
            self.sink.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            # The script and the Java machine that it started are a group of their own.
            os.killpg(self.sink.pid, signal.SIGKILL)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def metrics(port):
    """Values by name; None while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=EVERY) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    values = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not name.startswith("#"):
            values[name] = float(value)
    return values


def memory(pid, key):
    return int(re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu(pid):
    # What stands before the last bracket is the name, which may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def weight():
    """Files and bytes of the output, by its folders."""
    found = {}
    for folder, _, names in os.walk(work / "out"):
        top = Path(folder).relative_to(work / "out").parts[:1]
        for name in names if top else ():
            try:
                size = os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # it was open panes, or staged
            files, size_before = found.get(top[0], (0, 0))
            found[top[0]] = files + 1, size_before + size
    return found


def grown(then, now, seconds):
    """Files and MB an hour that a folder gained."""
    rates = {}
    for folder in sorted(now):
        files, size = (b - a for a, b in zip(then.get(folder, (0, 0)), now[folder]))
        if files or size:
            rates[folder] = {"files": round(files * 3600 / seconds, 1), "mb": round(size * 3600 / seconds / 1e6, 2)}
    return rates


def slope(points):
    """MiB an hour through (seconds, MiB), by least squares; None for fewer than three."""
    if len(points) < 3:
        return None
    n = len(points)
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    spread = sum((p[0] - x) ** 2 for p in points)
    return 3600 * sum((p[0] - x) * (p[1] - y) for p in points) / spread if spread else None


def job(port):
    config = work / "job.toml"
    config.write_text(
        f'[input]\nkafka = {{ brokers = "{broker}", topic = "{topic}", group = "soak" }}\n'
        f'[output]\ndir = "{(work / "out").as_uri()}"\n[serve]\nlisten = "127.0.0.1:{port}"\n'
    )
    return subprocess.Popen([binary, "run", "-c", str(config), "--json", "--quiet"], stdout=open(work / "summary", "wb"))


def watch(process, port, feeder):
    """Samples until the time is over, the largest memory, and an error where the job or the traffic ends before.

    A sample holds what the output weighs when traffic begins and, every minute, later on.
    """
    begin = time.monotonic()
    while metrics(port) is None:
        if process.poll() is not None or time.monotonic() - begin > START:
            return [], None, f"the job serves no metrics (exit code {process.poll()})"
        time.sleep(0.2)
    samples, peak, previous = [], 0.0, None
    with open(table, "w") as out:
        out.write("\t".join(COLUMNS) + "\n")
        for number in range(int(minutes * 60 / EVERY) + 1):
            time.sleep(max(0.0, begin + number * EVERY - time.monotonic()))
            if process.poll() is not None:
                return samples, peak, f"the job ended with {process.returncode}"
            if feeder.error:
                return samples, peak, feeder.error
            seen, at = metrics(port), time.monotonic() - begin
            try:
                rss, peak, used = memory(process.pid, "VmRSS"), memory(process.pid, "VmHWM"), cpu(process.pid)
            except (OSError, TypeError):
                continue  # it is ending: the next look says so
            if seen is None:
                return samples, peak, f"after {at:.0f} s /metrics does not answer"
            events = seen.get("driftglass_events_total", 0.0)
            evaluated = seen.get("driftglass_evaluated_timestamp_seconds")
            rate_now = (events - previous[1]) / (at - previous[0]) if previous and at > previous[0] else None
            previous = at, events
            sample = {
                "seconds": round(at, 1), "rss_mib": round(rss, 1), "lag": round(seen.get("driftglass_lag_records", 0)),
                "events_total": round(events), "events_per_s": "" if rate_now is None else round(rate_now, 1),
                "evaluated": "" if evaluated is None else round(evaluated, 3),
                "behind_s": "" if evaluated is None else round(time.time() - evaluated, 1), "cpu_s": round(used, 2),
                "gaps": seen.get("driftglass_gap_offsets_total", 0), "late": seen.get("driftglass_late_events_total", 0),
                "failures": seen.get("driftglass_storage_failures_total", 0),
            }
            for part in PARTS:
                bytes_of = seen.get(f'driftglass_state_bytes{{part="{part}"}}')
                sample[f"{part}_mib"] = "" if bytes_of is None else round(bytes_of / 2**20, 2)
            sample["live"] = time.time() >= feeder.start_at + EVERY
            if sample["live"] and number % 12 == 0:
                sample["weight"] = weight()
            samples.append(sample)
            out.write("\t".join(str(sample[c]) for c in COLUMNS) + "\n")
            out.flush()
    return samples, peak, None


def main():
    # What was started is ended in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    now = time.time()
    if history_days > 0:
        print(f"filling the topic with {history_days:g} days of traffic", file=sys.stderr)
        fill = generate(now - history_days * 86400, history_days, history_days * history_events, 1)
        subprocess.run([*fill, "--kafka", broker, "--topic", topic], check=True)
    # The traffic outlasts the job by a minute and more: it is told to stop while events come.
    start = time.time() + READY
    feeder = Feeder(start, READY + START + minutes * 60 + END)
    port = free_port()
    process = job(port)
    error, samples, peak, code, ending = None, [], 0.0, None, None
    try:
        feeder.start()
        samples, peak, error = watch(process, port, feeder)
        if process.poll() is None:
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(END)
            except subprocess.TimeoutExpired:
                error = error or f"the job did not end within {END:.0f} s of SIGTERM"
            ending = time.monotonic() - begin
        else:
            code = process.returncode
        if code not in (0, None) and error is None:
            error = f"the job ended with {code} after SIGTERM"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        feeder.stop()
    report(samples, peak, code, ending, error, feeder)
    sys.exit(1 if error else 0)


def report(samples, peak, code, ending, error, feeder):
    # What was there before it started is caught up with: lag counts from the first sample in which it is about a look's worth.
    caught_up = next((i for i, s in enumerate(samples) if s["events_total"] > 0 and s["lag"] <= rate * EVERY), None)
    steady = [s for s in samples[caught_up:] if s["live"]] if caught_up is not None else []
    settled = [s for s in samples if s["seconds"] >= SETTLED]
    at_ten = settled[0]["rss_mib"] if settled else None
    grows = slope([(s["seconds"], s["rss_mib"]) for s in settled])
    first, last = (steady[0], steady[-1]) if len(steady) > 1 else (None, None)
    span = last["seconds"] - first["seconds"] if first else 0
    weighed = [s for s in settled if "weight" in s]
    output = {}
    if len(weighed) > 1:
        a, b = weighed[0], weighed[-1]
        output = grown(a["weight"], b["weight"], b["seconds"] - a["seconds"])
    behind = [s["behind_s"] for s in settled or steady if s["behind_s"] != ""]
    result = {
        "minutes": minutes, "asked_events_per_s": rate,
        "events_per_s": round((last["events_total"] - first["events_total"]) / span, 1) if span else None,
        "cpus": round((last["cpu_s"] - first["cpu_s"]) / span, 3) if span else None,
        "caught_up_after_s": samples[caught_up]["seconds"] if caught_up is not None else None,
        "rss_10min_mib": at_ten, "rss_end_mib": samples[-1]["rss_mib"] if samples else None,
        "rss_peak_mib": round(peak, 1) if peak else None, "slope_mib_per_hour": round(grows, 2) if grows is not None else None,
        "max_lag": max((s["lag"] for s in steady), default=None), "max_behind_s": max(behind, default=None),
        "late": round(samples[-1]["late"]) if samples else None, "gaps": round(samples[-1]["gaps"]) if samples else None,
        "storage_failures": round(samples[-1]["failures"]) if samples else None, "sent": feeder.sent,
        "producer_late_s": round(feeder.late, 2), "exit_code": code, "stopping_s": round(ending, 2) if ending else None,
        "output_per_hour": output,
    }

    def shown(key, unit=""):
        value = result[key]
        return "not reached" if value is None else f"{value:,}{unit}"

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; {minutes:g} minutes at {rate:g} events/s, "
          f"{history_days:g} days of history")
    for name, text in (
        ("events taken in", shown("events_per_s", "/s")),
        ("CPUs in use", shown("cpus")),
        ("caught up after", shown("caught_up_after_s", " s")),
        ("RSS after 10 minutes", shown("rss_10min_mib", " MiB")),
        ("RSS at the end", shown("rss_end_mib", " MiB")),
        ("largest RSS", shown("rss_peak_mib", " MiB")),
        ("slope of RSS after 10 minutes", shown("slope_mib_per_hour", " MiB an hour")),
        ("largest lag", shown("max_lag", " records")),
        ("judged at most behind now", shown("max_behind_s", " s")),
        ("late events, gaps, failures", f"{shown('late')}, {shown('gaps')}, {shown('storage_failures')}"),
        ("producer at most late by", shown("producer_late_s", " s")),
        ("SIGTERM", f"exit code {code} after {shown('stopping_s', ' s')}"),
    ):
        print(f"{name:<30} {text}")
    for folder, r in output.items():
        print(f"{'output an hour, ' + folder:<30} {r['files']:,} files, {r['mb']:,} MB")
    if error:
        print(f"FAILED: {error}")
    print(json.dumps(result | {"error": error}))


if __name__ == "__main__":
    main()
