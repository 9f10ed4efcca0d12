"""The reader check checked: it passes sound tables and names what is wrong with unsound ones."""
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import read_tables
import stock_sql

CONTRIBUTOR = pa.struct([
    ("key", pa.string()), ("share", pa.float64()), ("baseline_share", pa.float64()), ("contribution", pa.float64())
])
WINDOWS = pa.schema([
    ("window_start", pa.timestamp("us", "UTC")), ("window_end", pa.timestamp("us", "UTC")), ("window", pa.string()),
    ("segment_by", pa.string()), ("segment", pa.string()), ("tenant", pa.string()), ("feature", pa.string()),
    ("kind", pa.string()), ("baseline", pa.string()), ("baseline_days", pa.uint16()), ("n", pa.uint64()),
    ("value", pa.float64()), ("psi", pa.float64()), ("verdict", pa.string()), ("complete", pa.bool_()),
    ("contributors", pa.list_(CONTRIBUTOR)), ("examples", pa.list_(pa.string())),
])


def write(table, folder, date, name="part.parquet"):
    target = folder / f"date={date}"
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target / name, compression="zstd")


def windows(day, count):
    begin = datetime(2024, 12, day, tzinfo=timezone.utc)
    drift = [i % 7 == 0 for i in range(count)]
    contributor = {"key": "anime", "share": 0.15, "baseline_share": 0.05, "contribution": 0.11}
    return pa.Table.from_pylist([
        {
            "window_start": begin + timedelta(minutes=5 * i), "window_end": begin + timedelta(minutes=5 * i + 30),
            "window": "30m", "segment_by": "tenant", "segment": "tenant=birch", "tenant": "birch",
            "feature": "prompt_tokens", "kind": "categorical", "baseline": "rolling_7d", "baseline_days": 7,
            "n": 100 + i, "value": None, "psi": float("nan") if i == 3 else 0.01 * i,
            "verdict": "drift" if drift[i] else "ok", "complete": True,
            "contributors": [contributor, contributor | {"key": "é"}] if drift[i] else None if i % 2 else [],
            "examples": ["r1", "r2"],
        }
        for i in range(count)
    ], schema=WINDOWS)


def sound(root):
    for day in (1, 2):
        write(windows(day, 40), root / "windows", f"2024-12-0{day}")
    rejects = pa.table({"topic": ["events"], "partition": [0], "offset": [7], "reason": ["bad_json"], "field": [None]})
    write(rejects, root / "rejects", "2024-12-01")
    (root / "alerts").mkdir()
    (root / "_panes").mkdir()
    (root / "_panes" / "broken.parquet").write_bytes(b"internal, not read")


def caught(name, spoil, expected):
    """Spoils a sound table and checks that the message says what was done to it."""
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        sound(root)
        spoil(root)
        try:
            read_tables.check(root)
        except read_tables.Disagreement as error:
            if expected in str(error):
                print(f"ok    {name}: {str(error).splitlines()[0][:110]}")
                return True
            print(f"FAIL  {name}: another error: {error}")
            return False
    print(f"FAIL  {name}: not caught")
    return False


def passes():
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        sound(root)
        results = read_tables.check(root)
        (root / "a.sql").write_text(
            "-- two statements; this is no third\n"
            "CREATE EXTERNAL TABLE w STORED AS PARQUET LOCATION 'windows/';\n"
            "SELECT verdict, ';' AS semicolon, count(*) AS n FROM w /* ; */ GROUP BY verdict;\n"
        )
        (root / "b.sql").write_text("CREATE VIEW drifting AS SELECT * FROM w WHERE verdict = 'drift'")
        counts = stock_sql.run(root, [root / "a.sql", root / "b.sql"])
    # Drift: 0, 7, … 35 of 40 rows, on two days; n is 100 + row.
    drift = 2 * sum(100 + i for i in range(0, 40, 7))
    expected = {"drift": {"rows": 12, "n": drift}, "ok": {"rows": 68, "n": 2 * sum(range(100, 140)) - drift}}
    good = (
        results["windows"]["rows"] == 80 and results["windows"]["verdicts"] == expected
        and results["windows"]["contributors"] == 24 and results["rejects"]["rows"] == 1
        and results["alerts"] is None and "_panes" not in results and counts == {"a.sql": [0, 2], "b.sql": [0], "views": [12]}
    )
    print("ok    sound tables" if good else f"FAIL  sound tables: {results} {counts}")
    return good


def unread_sql():
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "bad.sql").write_text("SELECT no_such_column FROM (SELECT 1 AS a)")
        try:
            stock_sql.run(Path(root), [Path(root) / "bad.sql"])
        except stock_sql.Failed as error:
            print(f"ok    SQL that fails: {str(error)[:100]}")
            return True
    print("FAIL  SQL that fails: not caught")
    return False


def hidden_file(root):
    """Some readers pass over names that begin with `_`, others read them."""
    folder = root / "windows" / "date=2024-12-01" / "_staged"
    folder.mkdir()
    pq.write_table(windows(1, 3), folder / "part.parquet")


def truncated(root):
    path = root / "rejects" / "date=2024-12-01" / "part.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def without_verdict(root):
    for day in (1, 2):
        write(windows(day, 40).drop_columns(["verdict"]), root / "windows", f"2024-12-0{day}")


def lying_reader():
    """One answer altered on its way: the comparison itself."""
    original = read_tables.Polars.verdicts
    read_tables.Polars.verdicts = lambda self: original(self).slice(0, 1)
    try:
        return caught("a reader that loses a verdict", lambda root: None, "duckdb and polars disagree on the rows and")
    finally:
        read_tables.Polars.verdicts = original


def run():
    outcomes = [
        passes(),
        caught("a file that only some readers see", hidden_file, "disagree"),
        caught("a truncated file", truncated, "rejects: "),
        caught("a column gone", without_verdict, "no column verdict"),
        caught("no table at all", lambda root: [p.rename(root / f"_{p.name}") for p in
               [root / "windows", root / "rejects", root / "alerts"]], "none of the tables"),
        lying_reader(),
        unread_sql(),
    ]
    print(f"{sum(outcomes)} of {len(outcomes)} passed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(run())
