#!/usr/bin/env python3
"""Draws what a command printed as a picture of a terminal: the one at the top of README.md.

    driftglass demo > demo.txt
    docs/images/terminal.py 'driftglass demo' demo.txt docs/images/demo.svg [LINES]

LINES: how many lines of the text are drawn; all by default. Needs Python's standard library only.
"""
import re
import sys
from html import escape

SIZE, LEADING, MARGIN = 13, 19, 18
WIDTH = 0.602 * SIZE  # of a character in the usual monospaced fonts
COLOURS = [  # the first that fits a word
    (re.compile(r"\bhigh\b|\bcritical\b"), "#ff7b72"),
    (re.compile(r"\bmedium\b"), "#e3b341"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b"), "#79c0ff"),
    (re.compile(r"\b\d+ h(?: \d+ min)?\b|\b\d+ min\b"), "#7ee787"),
    (re.compile(r"\b(?:tenant|region|model_version)=[\w.-]+"), "#d2a8ff"),
]


def pieces(line):
    """Where each piece of the line begins, its text and its colour; columns are pieces of their own."""
    marks = [None] * len(line)
    for pattern, colour in reversed(COLOURS):
        for m in pattern.finditer(line):
            marks[m.start() : m.end()] = [colour] * (m.end() - m.start())
    for m in re.finditer(r"\S+(?: \S+)*", line):
        start = m.start()
        while start < m.end():
            end = start + 1
            while end < m.end() and marks[end] == marks[start]:
                end += 1
            text = line[start:end]
            yield start + len(text) - len(text.lstrip()), text.strip(), marks[start]
            start = end


def drawn(line, y, colour="#c9d1d9", weight="normal"):
    """The line as SVG. Each piece has its place and length, so that columns stand whatever the font is."""
    for at, text, own in pieces(line):
        if text:
            yield (
                f'<text x="{MARGIN + WIDTH * at:.1f}" y="{y}" textLength="{WIDTH * len(text):.1f}" '
                f'lengthAdjust="spacingAndGlyphs" fill="{own or colour}" font-weight="{weight}">{escape(text)}</text>'
            )


def picture(command, lines):
    width = round(2 * MARGIN + WIDTH * max(len(line) for line in [command + "$ ", *lines]))
    top = 44
    height = top + LEADING * (len(lines) + 2) + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="9" fill="#0d1117"/>',
        *(f'<circle cx="{20 + 18 * i}" cy="19" r="5.5" fill="{c}"/>'
          for i, c in enumerate(("#ff5f57", "#febc2e", "#28c840"))),
        f'<g font-family="Menlo, Consolas, \'DejaVu Sans Mono\', \'Liberation Mono\', monospace" '
        f'font-size="{SIZE}">',
        *drawn("$ " + command, top + 10, "#ffffff", "bold"),
    ]
    for i, line in enumerate(lines):
        heading = line.startswith("   ") and re.search(r"\b(injected|found by)\b", line)
        out.extend(drawn(line, top + 10 + LEADING * (i + 2), "#8b949e" if heading else "#c9d1d9"))
    return "\n".join([*out, "</g>", "</svg>", ""])


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__.strip())
    command, text, file = sys.argv[1:4]
    with open(text, encoding="utf-8") as f:
        lines = f.read().rstrip("\n").split("\n")
    with open(file, "w", encoding="utf-8") as f:
        f.write(picture(command, lines[: int(sys.argv[4])] if len(sys.argv) == 5 else lines))


if __name__ == "__main__":
    main()
