#!/usr/bin/env python3
"""Run SQL files with the stock DataFusion, over a folder of driftglass's tables.

    stock_sql.py DIR FILE…

The files run one after the other in one session with nothing of driftglass registered, as `cd DIR && datafusion-cli -f FILE…`
runs them: `stock_sql.py DIR sql/tables.sql sql/views.sql`. Every view is then read. Prints the rows that each statement gave;
exit 1, with file and statement, at the first error.
"""
import contextlib
import json
import sys
from pathlib import Path

import datafusion


class Failed(Exception):
    """A statement that the stock engine refused."""


def statements(text):
    """Splits SQL at the semicolons that stand outside of strings, quoted names and comments."""
    parts, current, i = [], [], 0
    while i < len(text):
        if text[i] in "'\"":
            end = text.find(text[i], i + 1)
            end = len(text) if end < 0 else end + 1
        elif text.startswith("--", i):
            end = text.find("\n", i)
            i = end = len(text) if end < 0 else end
        elif text.startswith("/*", i):
            end = text.find("*/", i + 2)
            i = end = len(text) if end < 0 else end + 2
            current.append(" ")
        elif text[i] == ";":
            parts.append("".join(current).strip())
            current, end = [], i + 1
            i = end
        else:
            end = i + 1
        current.append(text[i:end])
        i = end
    parts.append("".join(current).strip())
    return [part for part in parts if part]


def session():
    """As `datafusion-cli` starts one: the information schema on, files as tables."""
    context = datafusion.SessionContext(datafusion.SessionConfig().with_information_schema(True))
    return context.enable_url_table()


def run(directory, files):
    """The rows of each statement, by file, and those of each view."""
    context = session()
    counts = {}
    with contextlib.chdir(directory):
        for path in files:
            counts[path.name] = []
            for number, statement in enumerate(statements(path.read_text()), 1):
                counts[path.name].append(rows(context, statement, f"{path.name}, statement {number}"))
            if not counts[path.name]:
                raise Failed(f"{path.name} has no statement")
        views = context.sql(VIEWS).to_pydict()["table_name"]
        if views:
            counts["views"] = [rows(context, f'SELECT * FROM "{view}"', view) for view in views]
    return counts


VIEWS = """SELECT table_name FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'VIEW' ORDER BY table_name"""


def rows(context, statement, name):
    try:
        return sum(batch.num_rows for batch in context.sql(statement).collect())
    except Exception as error:
        raise Failed(f"{name}: {error}") from error


def main(arguments):
    if len(arguments) < 2 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    directory, *files = (Path(argument).resolve() for argument in arguments)
    try:
        if not directory.is_dir():
            raise Failed(f"{directory} is no folder")
        for path in files:
            if not path.is_file():
                raise Failed(f"{path} is no file")
        counts = run(directory, files)
    except Failed as error:
        print(f"stock_sql.py: {str(error).strip()}", file=sys.stderr)
        return 1
    for name, per_statement in counts.items():
        print(f"{name:<40} {', '.join(f'{count} rows' for count in per_statement)}")
    print(json.dumps({"ok": True, "datafusion": datafusion.__version__, "rows": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
