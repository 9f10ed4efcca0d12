#!/usr/bin/env python3
"""Rewrite an archive of events as users do: read every file with a library and write it again.

    rewrite_archive.py IN OUT   IN: a folder of an archive; OUT/NAME/… gets the same files as each writer leaves them

Prints the names of the writers that this Python has, one a line.
"""
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def pandas(source, target):
    import pandas as pd

    pd.read_parquet(source).to_parquet(target)


def pandas_arrow(source, target):
    import pandas as pd

    frame = pd.read_parquet(source, dtype_backend="pyarrow")
    frame.set_index(frame["offset"] * 2).to_parquet(target, index=True, row_group_size=777)


def polars(source, target):
    import polars as pl

    pl.read_parquet(source, hive_partitioning=False).write_parquet(target)


def duckdb(source, target):
    import duckdb as db

    db.sql(
        f"COPY (SELECT * FROM read_parquet('{source}', hive_partitioning = false) ORDER BY partition, \"offset\") "
        f"TO '{target}' (FORMAT parquet)"
    )


def spark(source, target):
    """What Spark makes of it: no unsigned numbers, times as INT96, columns that may be null, `element` in lists."""
    table = pq.read_table(source, partitioning=None)
    signed = {pa.uint64(): pa.decimal128(20, 0), pa.uint16(): pa.int32()}

    def of(kind):
        return pa.list_(pa.field("element", of(kind.value_type))) if pa.types.is_list(kind) else signed.get(kind, kind)

    schema = pa.schema([pa.field(f.name, of(f.type)) for f in table.schema])
    pq.write_table(table.cast(schema), target, use_deprecated_int96_timestamps=True, compression="snappy")


def dictionaries(source, target):
    """Every text a dictionary, times in nanoseconds, large lists, columns by name."""
    table = pq.read_table(source, partitioning=None)

    def of(kind):
        if pa.types.is_string(kind):
            return pa.dictionary(pa.int32(), pa.large_string())
        if pa.types.is_timestamp(kind):
            return pa.timestamp("ns", tz="Europe/Berlin")
        return pa.large_list(kind.value_type) if pa.types.is_list(kind) else kind

    names = sorted(table.schema.names)
    schema = pa.schema([pa.field(n, of(table.schema.field(n).type)) for n in names])
    pq.write_table(table.select(names).cast(schema), target)


WRITERS = [pandas, pandas_arrow, polars, duckdb, spark, dictionaries]


def main():
    source, target = map(Path, sys.argv[1:])
    files = sorted(source.rglob("*.parquet"))
    if not files:
        sys.exit(f"{source} holds no Parquet file")
    for writer in WRITERS:
        folder = target / writer.__name__
        folder.mkdir(parents=True)
        try:
            for number, file in enumerate(files):
                writer(str(file), str(folder / f"{number}.parquet"))
        except ImportError as e:
            print(f"{writer.__name__}: {e}", file=sys.stderr)
            continue
        print(writer.__name__)


main()
