#!/usr/bin/env python3
"""Multiply the volume of an event archive: one time-ordered stream of COPIES copies of it.

    enlarge.py IN.jsonl[.gz] OUT.jsonl COPIES [--prompts own|rotated]

Every copy keeps the timestamps; request, session, user, trace and span ids get a suffix, so that a copy is other
requests of other sessions. The input is ordered by time, so merging the copies means to write each line COPIES
times in turn: nothing is held in memory but the line (and, with `rotated`, the prompts).

`own` repeats each event's prompt in every copy, next to each other: kind to anything that caches prompts.
`rotated` gives each copy the prompt of another event of the archive: as many distinct prompts in a minute as that
much traffic would have, at the price of the original's incidents. Measure throughput with both.
"""
import argparse
import gzip
import json
import sys

IDS = ("request_id", "session_id", "user_id_hash", "trace_id", "span_id")
MARK = "\x01"  # stands where a suffix goes; JSON text holds no raw control character
PROMPT = "\x02"


def lines(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as source:
        yield from source


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def template(line):
    """The event as text with marks for the suffix and the prompt, and its prompt (None where it has none)."""
    event = json.loads(line)
    for name in IDS:
        if event.get(name) is not None:
            event[name] = str(event[name]) + "~MARK~"
    prompt = (event.get("prompt") or {}).get("text")
    if prompt is not None:
        event["prompt"]["text"] = "~PROMPT~"
    text = compact(event).replace('~MARK~"', MARK + '"', len(IDS)).replace('"~PROMPT~"', PROMPT, 1)
    return text, prompt


def enlarge(source, target, copies, rotated):
    prompts = []
    if rotated:
        prompts = [p for _, p in map(template, lines(source)) if p is not None]
    written = size = 0
    with open(target, "wb", buffering=1 << 20) as out:
        for line in lines(source):
            if not line.strip():
                continue
            text, prompt = template(line)
            for copy in range(copies):
                if rotated and prompt is not None:
                    # A stride that is no simple fraction of the archive: copies of one event meet far prompts.
                    prompt = prompts[(written // copies + copy * (len(prompts) * 61 // 97 + 1)) % len(prompts)]
                event = text.replace(MARK, f"-{copy}")
                if prompt is not None:
                    event = event.replace(PROMPT, compact(prompt), 1)
                data = event.encode() + b"\n"
                out.write(data)
                written += 1
                size += len(data)
    return written, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("copies", type=int)
    parser.add_argument("--prompts", choices=("own", "rotated"), default="own")
    args = parser.parse_args()
    if args.copies < 1:
        parser.error("COPIES must be 1 or more")
    written, size = enlarge(args.source, args.target, args.copies, args.prompts == "rotated")
    print(f"{written} events, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
