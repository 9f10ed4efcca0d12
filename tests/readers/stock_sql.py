#!/usr/bin/env python3
"""Run SQL files with the stock DataFusion, over a folder of driftglass's tables.

    stock_sql.py DIR SQLDIR

Every `.sql` file of SQLDIR runs in a session of its own, with nothing of driftglass registered; `${DIR}` in it
stands for DIR. Prints the rows that each statement gave; exit 1, with file and statement, at the first error.
"""
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


def run(directory, sql):
    """The rows of each statement, by file."""
    files = sorted(sql.glob("*.sql"))
    if not files:
        raise Failed(f"{sql} has no .sql file")
    counts = {}
    for path in files:
        text = path.read_text().replace("${DIR}", str(directory).replace("'", "''"))
        context = session()
        counts[path.name] = []
        for number, statement in enumerate(statements(text), 1):
            try:
                batches = context.sql(statement).collect()
            except Exception as error:
                raise Failed(f"{path.name}, statement {number}: {error}") from error
            counts[path.name].append(sum(batch.num_rows for batch in batches))
        if not counts[path.name]:
            raise Failed(f"{path.name} has no statement")
    return counts


def main(arguments):
    if len(arguments) != 2 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    directory, sql = (Path(argument).resolve() for argument in arguments)
    try:
        if not directory.is_dir():
            raise Failed(f"{directory} is no folder")
        counts = run(directory, sql)
    except Failed as error:
        print(f"stock_sql.py: {str(error).strip()}", file=sys.stderr)
        return 1
    for name, per_statement in counts.items():
        print(f"{name:<40} {', '.join(f'{count} rows' for count in per_statement)}")
    print(json.dumps({"ok": True, "datafusion": datafusion.__version__, "rows": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
