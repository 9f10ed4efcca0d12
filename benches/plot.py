#!/usr/bin/env python3
"""Plots of what scale.sh and soak.sh measured.

    plot.py scale|soak TABLE.tsv PLOT.png      needs matplotlib: benches/plots.sh prints a Python that has it
"""
import csv
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of what draws

BLUE, RED = "#1f5fa8", "#b5442e"
SHADES = ("#9db8d6", "#d9c58b", "#a9c9a4", "#d3a79c")
PARTS = {
    "open_panes_mib": "open panes", "waiting_panes_mib": "panes that wait", "chunks_mib": "chunks", "hours_mib": "hours",
}
AXES = {
    "partitions": "partitions", "segments": "live segments", "windows": "rolling windows", "history": "days of history",
}


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def number(text):
    return float(text) if text else float("nan")


def scale(table, picture):
    figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for panel, (kind, label) in zip(panels.flat, AXES.items()):
        points = [r for r in table if r["kind"] == kind]
        panel.set_xlabel(label)
        panel.set_ylabel("cost, µs of wall time per event", color=BLUE)
        if not points:
            panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
            continue
        x = [number(r["live_segments"] or r["value"]) for r in points]
        panel.plot(x, [number(r["us_per_event"]) for r in points], "o-", color=BLUE)
        memory = panel.twinx()
        memory.plot(x, [number(r["rss_mib"]) for r in points], "s--", color=RED)
        memory.set_ylabel("largest resident memory, MiB", color=RED)
        for axis in (panel, memory):
            low, high = min(axis.lines[0].get_ydata()), max(axis.lines[0].get_ydata())
            if high > 10 * low > 0:
                axis.set_yscale("log")
            else:
                axis.set_ylim(0, 1.1 * high)
        if kind != "windows":
            panel.set_xscale("log")
        if kind == "segments":
            panel.xaxis.set_major_formatter("{x:,.0f}")
        else:
            panel.set_xticks(x, [f"{v:.0f}" for v in x])
            panel.minorticks_off()
    figure.savefig(picture, dpi=130)


def soak(table, picture):
    minutes = [number(r["seconds"]) / 60 for r in table]
    figure, panels = plt.subplots(3, 1, figsize=(10, 8), sharex=True, layout="constrained")
    for panel, (column, label) in zip(panels, (
        ("rss_mib", "resident memory, MiB"), ("lag", "lag, records"), ("events_per_s", "taken in, events/s"),
    )):
        values = [number(r[column]) for r in table]
        panel.plot(minutes, values, color=BLUE, linewidth=1)
        panel.set_ylabel(label)
        parts = PARTS if column == "rss_mib" and table and all(table[-1].get(p) for p in PARTS) else {}
        if parts:
            panel.stackplot(minutes, *([number(r[p]) for r in table] for p in parts), colors=SHADES, labels=parts.values())
            panel.legend(loc="center right", ncols=len(parts), fontsize="small", title="of it, as the job weighs its state")
        if column == "lag":
            # What is caught up with at the start would press everything else flat.
            panel.set_yscale("symlog", linthresh=100)
        # A lag that stays 0 is a line at the bottom of a hundred, not an empty panel.
        top = max([v for v in values if v > 0] + [100 if column == "lag" else 1])
        if column == "events_per_s":
            top = min(top, 3 * statistics.median([v for v in values if v > 0] or [1]))
        panel.set_ylim(0, 1.1 * top)
    panels[-1].set_xlabel("time since the start, minutes")
    figure.savefig(picture, dpi=130)


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("scale", "soak"):
        sys.exit(__doc__.strip())
    {"scale": scale, "soak": soak}[sys.argv[1]](rows(sys.argv[2]), sys.argv[3])


if __name__ == "__main__":
    main()
