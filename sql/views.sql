-- Views over driftglass's tables, in SQL that needs none of its functions. `driftglass sql` has them registered; for any other
-- datafusion-cli, run tables.sql first. A view has no order of its own (DataFusion drops one): say ORDER BY where you read it.

-- What drifts now, with everything that is known of it: of each segment, feature, window length and baseline the latest complete
-- window, if its verdict is drift. `since` is the start of the first drifting window: of the first with the verdict drift after
-- the last one with ok. A segment that has gone silent has no window that overlaps the newest one, and is not "now".
-- ORDER BY psi_excess DESC NULLS LAST.
CREATE OR REPLACE VIEW drift_details AS
WITH ranked AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline ORDER BY window_end DESC
        ) AS age,
        max(CASE WHEN verdict = 'ok' THEN window_end END) OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline
        ) AS last_ok,
        max(window_start) OVER (PARTITION BY "window") AS newest_start
    FROM windows
    WHERE complete
),
runs AS (
    SELECT *,
        min(CASE WHEN verdict = 'drift' AND (last_ok IS NULL OR window_end > last_ok) THEN window_start END) OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline
        ) AS since
    FROM ranked
)
SELECT since, window_start, window_end, "window", segment_by, segment, feature, kind, baseline, baseline_days, n, baseline_n,
    sessions, baseline_sessions, value, baseline_value, effect, effect_low, effect_high, detectable, p50, baseline_p50, p95,
    baseline_p95, psi, psi_excess, kl, p_value, alpha, verdict, contributors, examples
FROM runs
WHERE age = 1 AND verdict = 'drift' AND window_end > newest_start;

-- The same for a terminal: a line for each segment, feature and window length, of the baseline that it differs from most clearly.
-- Of features that have a default rule only what meets its condition: what is better than before, or too small to matter, is in
-- drift_details alone. `was` is the baseline's value; `why` names what moved most. ORDER BY p_value.
CREATE OR REPLACE VIEW drift_now AS
WITH clearest AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY segment_by, segment, feature, "window" ORDER BY p_value, psi_excess DESC NULLS LAST, baseline
        ) AS place,
        contributors[1]['key'] AS moved, contributors[1]['share'] AS share, contributors[1]['baseline_share'] AS then_share
    FROM drift_details
    -- The conditions of the default rules; features of your own have none.
    WHERE CASE
        WHEN feature IN ('prompt_tokens', 'error_code') THEN psi_excess > 0.1
        WHEN feature IN ('prompt_length', 'language', 'style_collection', 'content_mix', 'style_mix')
            THEN psi_excess > 0.1 AND window_end - window_start >= INTERVAL '24 hours'
        WHEN feature IN ('sampler', 'loras', 'steps', 'cfg')
            THEN (kind = 'numeric' OR psi_excess > 0.1) AND window_end - window_start >= INTERVAL '24 hours'
        WHEN feature IN (
            'latency_ms', 'ingest_latency_ms', 'preprocess_latency_ms', 'upscale_latency_ms', 'postprocess_latency_ms',
            'deliver_latency_ms'
        ) THEN p50 > 1.1 * baseline_p50 OR p95 > 1.1 * baseline_p95
        WHEN feature = 'queue_wait_ms' THEN p95 > 1.1 * baseline_p95 AND p95 > 1000
        WHEN feature IN (
            'latency_tail', 'ingest_latency_tail', 'preprocess_latency_tail', 'upscale_latency_tail', 'postprocess_latency_tail',
            'deliver_latency_tail', 'queue_wait_tail', 'cost_tail', 'nsfw'
        ) THEN value > 2 * baseline_value
        WHEN feature = 'cost_usd' THEN value > 1.1 * baseline_value
        WHEN feature IN (
            'error', 'ingest_error', 'preprocess_error', 'upscale_error', 'postprocess_error', 'deliver_error', 'style_distance',
            'edited', 'rerolls'
        ) THEN value > baseline_value
        WHEN feature IN ('aesthetic', 'clip_i', 'face_ok', 'accepted') THEN value < baseline_value
        WHEN feature = 'missing' THEN contributors[1]['contribution'] > 0 AND (
            contributors[1]['share'] - contributors[1]['baseline_share'] > 0.3
            OR contributors[1]['share'] - contributors[1]['baseline_share'] > 0.1
                AND window_end - window_start >= INTERVAL '24 hours'
            OR contributors[1]['share'] >= 0.9 AND contributors[1]['baseline_share'] < 0.5
        )
        ELSE true
    END
)
SELECT segment, feature, "window", since,
    CASE WHEN abs(value) >= 1000 THEN round(value, 0) WHEN abs(value) >= 1 THEN round(value, 2) ELSE round(value, 4) END AS value,
    CASE
        WHEN abs(baseline_value) >= 1000 THEN round(baseline_value, 0)
        WHEN abs(baseline_value) >= 1 THEN round(baseline_value, 2)
        ELSE round(baseline_value, 4)
    END AS was,
    round(psi_excess, 3) AS psi_excess,
    -- Two digits, still a number.
    CASE
        WHEN p_value < 1e-300 THEN 0.0
        ELSE CAST(concat(
            CAST(round(p_value / power(10.0, floor(log10(p_value))), 1) AS VARCHAR), 'e',
            CAST(CAST(floor(log10(p_value)) AS BIGINT) AS VARCHAR)
        ) AS DOUBLE)
    END AS p_value,
    CASE
        WHEN moved LIKE 'style:%' THEN concat('towards ', left(substr(moved, 7), 26))
        WHEN moved IS NOT NULL THEN concat(
            left(moved, 20), ' ', CAST(round(100 * then_share, 1) AS VARCHAR), '% to ', CAST(round(100 * share, 1) AS VARCHAR), '%'
        )
        WHEN value > baseline_value AND baseline_value > 0
            THEN concat('up ', CAST(CAST(round(100 * (value / baseline_value - 1), 0) AS BIGINT) AS VARCHAR), '%')
        WHEN value < baseline_value AND baseline_value > 0
            THEN concat('down ', CAST(CAST(round(100 * (1 - value / baseline_value), 0) AS BIGINT) AS VARCHAR), '%')
        WHEN value IS NOT NULL AND baseline_value IS NOT NULL THEN 'other values'
        ELSE ''
    END AS why
FROM clearest
WHERE place = 1;

-- Since when and until when: each unbroken run of drifting windows.
CREATE OR REPLACE VIEW drift_timeline AS
WITH numbered AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline ORDER BY window_end
        ) - row_number() OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline, verdict ORDER BY window_end
        ) AS run
    FROM windows
    WHERE complete AND verdict IS NOT NULL
)
SELECT min(window_start) AS began, max(window_end) AS ended, segment_by, segment, feature, "window", baseline,
    count(*) AS windows, max(psi) AS max_psi, max(psi_excess) AS max_psi_excess, min(p_value) AS min_p_value
FROM numbered
WHERE verdict = 'drift'
GROUP BY segment_by, segment, feature, "window", baseline, run;

-- Which segments drift most (ORDER BY drift_share DESC): the share of their judged windows that drifted, over all that the table
-- holds.
CREATE OR REPLACE VIEW worst_segments AS
SELECT segment_by, segment,
    count(*) AS windows,
    count(*) FILTER (WHERE verdict = 'drift') AS drifting,
    CAST(count(*) FILTER (WHERE verdict = 'drift') AS DOUBLE) / count(*) AS drift_share,
    count(DISTINCT feature) FILTER (WHERE verdict = 'drift') AS drifting_features,
    max(psi_excess) FILTER (WHERE verdict = 'drift') AS max_psi_excess,
    max(window_end) FILTER (WHERE verdict = 'drift') AS last_drift
FROM windows
WHERE complete AND verdict IN ('ok', 'drift')
GROUP BY segment_by, segment
HAVING count(*) FILTER (WHERE verdict = 'drift') > 0;

-- Every alert once, as it stands, with how long it fired.
CREATE OR REPLACE VIEW alert_history AS
WITH ranked AS (
    SELECT *, row_number() OVER (PARTITION BY id ORDER BY "at" DESC) AS age FROM alerts
)
SELECT id, rule, severity, state, segment_by, segment, feature, "window", baseline,
    pending_since, firing_since, resolved_at,
    (date_part('epoch', coalesce(resolved_at, "at")) - date_part('epoch', firing_since)) / 60 AS minutes_firing,
    psi, p_value, value, baseline_value, summary, runbook
FROM ranked
WHERE age = 1;

-- What was refused, by day, hour, reason and field; hour is null where a message has no time.
CREATE OR REPLACE VIEW data_quality AS
SELECT date, date_trunc('hour', "time") AS "hour", topic, reason, field, fatal, count(*) AS rejects
FROM rejects
GROUP BY date, date_trunc('hour', "time"), topic, reason, field, fatal;

-- Where there is too little to judge: the share of windows without a verdict for want of data.
CREATE OR REPLACE VIEW coverage AS
SELECT segment_by, segment, feature, "window", baseline,
    count(*) AS windows,
    CAST(count(*) FILTER (WHERE verdict = 'insufficient_data') AS DOUBLE) / count(*) AS insufficient_share,
    CAST(count(*) FILTER (WHERE NOT complete) AS DOUBLE) / count(*) AS incomplete_share,
    avg(n) AS mean_n
FROM windows
WHERE verdict IS NOT NULL
GROUP BY segment_by, segment, feature, "window", baseline;

-- Latency against its baseline, by hour: the last complete window that ended in it (quantiles of several can't be averaged).
CREATE OR REPLACE VIEW latency AS
WITH ranked AS (
    SELECT *, date_trunc('hour', window_end) AS "hour",
        row_number() OVER (
            PARTITION BY segment_by, segment, feature, "window", baseline, date_trunc('hour', window_end)
            ORDER BY window_end DESC
        ) AS age
    FROM windows
    WHERE complete AND feature LIKE '%latency_ms'
)
SELECT "hour", segment_by, segment, feature, "window", baseline, n,
    p50, baseline_p50, p95, baseline_p95, p99, baseline_p99, p_value, verdict
FROM ranked
WHERE age = 1;
