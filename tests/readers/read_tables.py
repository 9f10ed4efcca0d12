#!/usr/bin/env python3
"""Read driftglass's public tables with DuckDB, Polars, pyarrow and DataFusion, and check that they agree.

    read_tables.py DIR          read every public table folder under DIR that exists
    read_tables.py --self-test  write a tiny table, read it, and show that disagreements are caught

Each reader opens a table the way its manual says for a hive-partitioned folder, with no help from driftglass. For
each table they must agree on the columns, the rows of each `date=` folder, the values that are not null in each
column; for `windows` also on the rows and the sum of `n` of each verdict, on whole rows at set positions of one
order, and on the elements and shares of the list of structs `contributors`.

Prints a table and, last, one line of JSON. Exit 1, with what differs, when two readers disagree, a reader fails,
or `windows` lacks a column that every job writes.
"""
import json
import math
import sys
from pathlib import Path

import datafusion
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

TABLES = ["panes", "windows", "alerts", "rejects", "exclusions", "vectors"]
# What every row of `windows` has; all others may be absent.
REQUIRED = ["window_start", "window_end", "window", "segment_by", "segment", "feature", "kind", "n", "verdict"]
# One order for all readers: what a row of `windows` is known by.
ORDER = ["window_start", "window_end", "window", "segment_by", "segment", "feature", "baseline"]
SAMPLED = [*ORDER, "n", "baseline_n", "value", "psi", "p_value", "verdict", "complete"]


class Disagreement(Exception):
    """Two readers see different things, or one sees what the contract forbids."""


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + str(text).replace("'", "''") + "'"


# --- the readers: each turns a question into an Arrow table, with its own engine ---------------------------------


class Sql:
    """The questions, in the SQL that DuckDB and DataFusion share."""

    def by_date(self):
        return self.ask("SELECT CAST(date AS VARCHAR) AS date, count(*) AS rows FROM t GROUP BY 1 ORDER BY 1")

    def present(self, columns):
        return self.ask("SELECT " + ", ".join(f"count({quoted(c)}) AS {quoted(c)}" for c in columns) + " FROM t")

    def verdicts(self):
        return self.ask(
            "SELECT verdict, count(*) AS rows, CAST(sum(n) AS BIGINT) AS n FROM t GROUP BY verdict ORDER BY verdict"
        )

    def row(self, columns, order, position):
        by = ", ".join(f"{quoted(c)} NULLS FIRST" for c in order)
        return self.ask(f"SELECT {', '.join(map(quoted, columns))} FROM t ORDER BY {by} LIMIT 1 OFFSET {position}")

    def everything(self):
        return self.ask("SELECT * FROM t")


class DuckDb(Sql):
    name = "duckdb"
    version = duckdb.__version__

    def __init__(self, folder):
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        glob = literal(f"{folder}/**/*.parquet")
        self.db.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet({glob}, hive_partitioning = true)")

    def ask(self, sql):
        return self.db.sql(sql).to_arrow_table()

    def columns(self):
        return [row[0] for row in self.db.execute("DESCRIBE t").fetchall()]

    def contributors(self):
        return self.ask(
            "SELECT count(*) AS elements, sum(c.share) AS share, max(c.key) AS last_key "
            "FROM (SELECT unnest(contributors) AS c FROM t)"
        )


class DataFusion(Sql):
    name = "datafusion"
    version = datafusion.__version__

    def __init__(self, folder):
        self.context = datafusion.SessionContext()
        self.context.sql(
            f"CREATE EXTERNAL TABLE t STORED AS PARQUET PARTITIONED BY (date) LOCATION {literal(f'{folder}/')}"
        ).collect()

    def ask(self, sql):
        return self.context.sql(sql).to_arrow_table()

    def columns(self):
        return self.context.table("t").schema().names

    def contributors(self):
        return self.ask(
            "SELECT count(*) AS elements, sum(c['share']) AS share, max(c['key']) AS last_key "
            "FROM (SELECT unnest(contributors) AS c FROM t)"
        )


class Polars:
    name = "polars"
    version = pl.__version__

    def __init__(self, folder):
        self.frame = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)

    def columns(self):
        return self.frame.collect_schema().names()

    def by_date(self):
        return (
            self.frame.select(pl.col("date").cast(pl.String)).group_by("date").agg(rows=pl.len()).sort("date")
            .collect().to_arrow()
        )

    def present(self, columns):
        return self.frame.select(pl.col(c).count() for c in columns).collect().to_arrow()

    def verdicts(self):
        grouped = self.frame.group_by("verdict").agg(rows=pl.len(), n=pl.col("n").sum())
        return grouped.sort("verdict").collect().to_arrow()

    def row(self, columns, order, position):
        return self.frame.sort(order, nulls_last=False).select(columns).slice(position, 1).collect().to_arrow()

    def contributors(self):
        listed = self.frame.select(pl.col("contributors")).filter(pl.col("contributors").list.len() > 0)
        fields = listed.explode("contributors").select(
            share=pl.col("contributors").struct.field("share"), key=pl.col("contributors").struct.field("key")
        )
        return fields.select(elements=pl.len(), share=pl.col("share").sum(), last_key=pl.col("key").max()).collect().to_arrow()

    def everything(self):
        return self.frame.collect().to_arrow()


class PyArrow:
    name = "pyarrow"
    version = pa.__version__

    def __init__(self, folder):
        self.table = ds.dataset(str(folder), format="parquet", partitioning="hive").to_table()

    def columns(self):
        return self.table.column_names

    def by_date(self):
        dates = pa.table({"date": self.table["date"].cast(pa.string())})
        counted = dates.group_by("date").aggregate([([], "count_all")]).sort_by("date")
        return counted.rename_columns({"count_all": "rows"})

    def present(self, columns):
        return pa.table({c: [pc.count(self.table[c]).as_py()] for c in columns})

    def verdicts(self):
        grouped = self.table.select(["verdict", "n"]).group_by("verdict").aggregate([([], "count_all"), ("n", "sum")])
        return grouped.rename_columns({"count_all": "rows", "n_sum": "n"}).sort_by("verdict")

    def row(self, columns, order, position):
        keys = [(c, "ascending", "at_start") for c in order]
        return self.table.take(pc.sort_indices(self.table, sort_keys=keys)[position : position + 1]).select(columns)

    def contributors(self):
        flat = pc.list_flatten(self.table["contributors"])
        share, key = (pc.struct_field(flat, name) for name in ("share", "key"))
        return pa.table({
            "elements": [len(flat)], "share": [pc.sum(share).as_py()], "last_key": [pc.max(key).as_py()]
        })

    def everything(self):
        return self.table


READERS = [DuckDb, Polars, PyArrow, DataFusion]

# --- what they say, in one form -------------------------------------------------------------------------------------


def plain(column):
    """Arrow values as Python ones that compare across readers: times as microseconds UTC, text as str."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    values = column.to_pylist()
    return ["NaN" if isinstance(v, float) and math.isnan(v) else v for v in values]


def rows(table):
    columns = {name: plain(table[name]) for name in table.column_names}
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def same(left, right):
    """Equal; sums of floats may differ by the order in which they were added."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def difference(left, right):
    """The first part that differs, so that a message stays short."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key in left:
            if not same(left[key], right[key]):
                inner = difference(left[key], right[key])
                return f"{key}: {inner}"
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (a, b) in enumerate(zip(left, right)):
            if not same(a, b):
                return f"[{index}] {difference(a, b)}"
    return f"{left!r} against {right!r}"


def agree(table, what, answers):
    """Raises unless all readers gave the same answer; returns it."""
    (first, expected), *others = answers.items()
    for name, answer in others:
        if not same(expected, answer):
            raise Disagreement(f"{table}: {first} and {name} disagree on {what}: {difference(expected, answer)}")
    return expected


# --- the checks -----------------------------------------------------------------------------------------------------


def check_table(folder):
    """What the readers agree on for one table."""
    table = folder.name
    readers = {}
    for reader in READERS:
        try:
            readers[reader.name] = reader(folder)
        except Exception as error:
            raise Disagreement(f"{table}: {reader.name} cannot open it: {error}") from error

    def ask(what, question):
        answers = {}
        for name, reader in readers.items():
            try:
                answers[name] = question(reader)
            except Exception as error:
                raise Disagreement(f"{table}: {name} cannot read {what}: {error}") from error
        return agree(table, what, answers)

    columns = ask("the columns", lambda r: sorted(r.columns()))
    dates = ask("the rows of each date", lambda r: rows(r.by_date()))
    ask("the values that are not null", lambda r: rows(r.present(columns)))
    total = ask("all rows at once", lambda r: r.everything().num_rows)
    if total != sum(day["rows"] for day in dates):
        raise Disagreement(f"{table}: {total} rows, but the dates have {sum(d['rows'] for d in dates)}")
    result = {"rows": total, "columns": len(columns), "dates": len(dates)}
    if table == "windows":
        result |= check_windows(columns, total, ask)
    return result


def check_windows(columns, total, ask):
    absent = [c for c in REQUIRED if c not in columns]
    if absent:
        raise Disagreement(f"windows: no column {', '.join(absent)}")
    verdicts = ask("the rows and the sum of n of each verdict", lambda r: sorted(rows(r.verdicts()), key=lambda v: v["verdict"] or ""))
    order = [c for c in ORDER if c in columns]
    sampled = [c for c in SAMPLED if c in columns]
    for position in sorted({0, total // 4, total // 2, 3 * total // 4, total - 1}):
        ask(f"row {position} of {total}", lambda r: rows(r.row(sampled, order, position)))
    result = {"verdicts": {v["verdict"]: {"rows": v["rows"], "n": v["n"]} for v in verdicts}}
    if "contributors" in columns:
        contributors = ask("contributors", lambda r: rows(r.contributors()))[0]
        result["contributors"] = contributors["elements"]
    return result


def check(directory):
    """Every public table under the folder: name to what the readers agree on (None: the folder holds no file)."""
    if not directory.is_dir():
        raise Disagreement(f"{directory} is no folder")
    found = [directory / name for name in TABLES if (directory / name).is_dir()]
    if not found:
        raise Disagreement(f"{directory} has none of the tables {', '.join(TABLES)}")
    return {folder.name: check_table(folder) if any(folder.rglob("*.parquet")) else None for folder in found}


def show(results):
    print("readers: " + ", ".join(f"{r.name} {r.version}" for r in READERS))
    print(f"{'table':<12} {'rows':>10} {'columns':>8} {'dates':>6}  verdicts")
    for name, result in results.items():
        if result is None:
            print(f"{name:<12} {'empty':>10}")
            continue
        verdicts = ", ".join(f"{k} {v['rows']} (n {v['n']})" for k, v in result.get("verdicts", {}).items())
        print(f"{name:<12} {result['rows']:>10} {result['columns']:>8} {result['dates']:>6}  {verdicts}")
    print(json.dumps({"ok": True, "readers": {r.name: r.version for r in READERS}, "tables": results}))


def main(arguments):
    if arguments == ["--self-test"]:
        import self_test

        return self_test.run()
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        show(check(Path(arguments[0]).resolve()))
    except Disagreement as error:
        message = str(error).replace("\n", " ")
        print(f"read_tables.py: {message}", file=sys.stderr)
        print(json.dumps({"ok": False, "error": message}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
