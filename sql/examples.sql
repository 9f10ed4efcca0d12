-- Queries that need driftglass's functions: driftglass sql -c job.toml examples.sql

-- The last full day of latency, from its hours, per model version: exact counts, quantiles within 1/256.
SELECT model_version,
    sketch_n(day) AS n, sketch_sessions(day) AS sessions, sketch_mean(day) AS mean,
    sketch_quantile(day, 0.5) AS p50, sketch_quantile(day, 0.95) AS p95, sketch_quantile(day, 0.99) AS p99
FROM (
    SELECT model_version, merge_sketch(sketch) AS day
    FROM panes
    WHERE feature = 'latency_ms' AND segment_by = 'model_version'
        AND date = (SELECT max(date) FROM panes)
    GROUP BY model_version, sketch_id
)
ORDER BY model_version;

-- Each day of prompts against the day before, per segment: how far, and whether chance could explain it.
WITH days AS (
    SELECT date, segment_by, segment, feature, sketch_id, merge_sketch(sketch) AS sketch
    FROM panes
    WHERE feature = 'prompt_tokens'
    GROUP BY date, segment_by, segment, feature, sketch_id
)
SELECT today.date, today.segment,
    psi(before.sketch, today.sketch) AS psi,
    psi_excess(before.sketch, today.sketch) AS psi_excess,
    p_value(before.sketch, today.sketch) AS p_value
FROM days AS today
JOIN days AS before
    ON before.date = today.date - INTERVAL '1 day' AND before.segment_by = today.segment_by
    AND before.segment = today.segment AND before.sketch_id = today.sketch_id
ORDER BY psi_excess DESC NULLS LAST;

-- What people ask for: the most frequent tokens of the newest day. Rare ones, which could tell a person, are not listed.
SELECT t['text'] AS token, t['count'] AS occurrences, round(t['share'], 5) AS share
FROM (
    SELECT unnest(top_tokens(merge_sketch(sketch), 20)) AS t
    FROM panes
    WHERE feature = 'prompt_tokens' AND segment_by = '' AND date = (SELECT max(date) FROM panes)
    GROUP BY sketch_id
);

-- A rolling day of the error rate, hour by hour.
SELECT start, sketch_mean(merge_sketch(sketch) OVER (
    ORDER BY start RANGE BETWEEN INTERVAL '23 hours' PRECEDING AND CURRENT ROW
)) AS error_rate
FROM panes
WHERE feature = 'error' AND segment_by = ''
ORDER BY start;
