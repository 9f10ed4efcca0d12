-- driftglass's tables for any datafusion-cli. Run it in the job's output folder:
--
--   cd OUTPUT && datafusion-cli -f tables.sql views.sql -c 'SELECT * FROM drift_now'
--
-- (give the two files with their paths). `driftglass sql` has all of this, and the functions over sketches, already registered.
-- panes and windows take their columns from the files, since a job's dimensions are columns of its own; a job that has not
-- written any yet is told so. alerts, rejects, exclusions and vectors may stay empty for long and so have theirs here.

CREATE EXTERNAL TABLE IF NOT EXISTS panes STORED AS PARQUET PARTITIONED BY (date) LOCATION 'panes/';

CREATE EXTERNAL TABLE IF NOT EXISTS windows STORED AS PARQUET PARTITIONED BY (date) LOCATION 'windows/';

CREATE EXTERNAL TABLE IF NOT EXISTS alerts (
    id VARCHAR, rule VARCHAR, severity VARCHAR, state VARCHAR,
    segment_by VARCHAR, segment VARCHAR, feature VARCHAR, "window" VARCHAR, baseline VARCHAR,
    "at" TIMESTAMP(6), pending_since TIMESTAMP(6), firing_since TIMESTAMP(6), resolved_at TIMESTAMP(6),
    window_start TIMESTAMP(6), window_end TIMESTAMP(6),
    value DOUBLE, baseline_value DOUBLE, n BIGINT UNSIGNED, baseline_n BIGINT UNSIGNED,
    psi DOUBLE, psi_excess DOUBLE, kl DOUBLE, p_value DOUBLE, alpha DOUBLE,
    verdict VARCHAR, complete BOOLEAN,
    contributors STRUCT<key VARCHAR, share DOUBLE, baseline_share DOUBLE, contribution DOUBLE>[],
    examples VARCHAR[], runbook VARCHAR, summary VARCHAR,
    date DATE
) STORED AS PARQUET PARTITIONED BY (date) LOCATION 'alerts/*.parquet';

CREATE EXTERNAL TABLE IF NOT EXISTS rejects (
    "time" TIMESTAMP(6), topic VARCHAR, "partition" INT, "offset" BIGINT,
    reason VARCHAR, field VARCHAR, fatal BOOLEAN,
    date DATE
) STORED AS PARQUET PARTITIONED BY (date) LOCATION 'rejects/*.parquet';

CREATE EXTERNAL TABLE IF NOT EXISTS exclusions (
    "day" TIMESTAMP(6), segment_by VARCHAR, segment VARCHAR, feature VARCHAR,
    judged BIGINT UNSIGNED, drifted BIGINT UNSIGNED, reason VARCHAR, decided_at TIMESTAMP(6),
    date DATE
) STORED AS PARQUET PARTITIONED BY (date) LOCATION 'exclusions/*.parquet';

CREATE EXTERNAL TABLE IF NOT EXISTS vectors (
    "time" TIMESTAMP(6), topic VARCHAR, "partition" INT, "offset" BIGINT,
    request_hash BIGINT UNSIGNED, request_id VARCHAR, source VARCHAR, model VARCHAR,
    vector REAL[], reason VARCHAR,
    date DATE
) STORED AS PARQUET PARTITIONED BY (date) LOCATION 'vectors/*.parquet';
