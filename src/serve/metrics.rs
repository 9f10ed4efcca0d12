//! A running job's counters as metrics, under the names that Prometheus' conventions ask for.

use crate::engine::{Job, Progress};
use axum::http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A job and what it counts.
pub struct Watched {
    job: Arc<Job>,
    progress: Arc<Progress>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("job", &self.job.name).finish_non_exhaustive()
    }
}

type Done = Result<(), fmt::Error>;

impl Watched {
    /// Watches a job.
    #[must_use]
    pub fn new(job: Arc<Job>, progress: Arc<Progress>) -> Self {
        Self { job, progress }
    }

    /// Whether the job goes on: not while its store fails.
    pub(super) fn health(&self) -> (StatusCode, &'static str) {
        match self.job.storage.is_failing() {
            true => {
                (StatusCode::SERVICE_UNAVAILABLE, "the output can't be written or read; waiting for it\n")
            }
            false => (StatusCode::OK, "ok\n"),
        }
    }

    fn counters(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        let (p, c) = (&self.progress, self.progress.counts());
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let all = [
            ("driftglass_messages", "Messages read", c.messages),
            ("driftglass_message_bytes", "Bytes of the messages read", c.bytes),
            ("driftglass_events", "Events taken in", c.events),
            ("driftglass_mistyped_fields", "Optional fields of the wrong type", c.mistyped_fields),
            (
                "driftglass_tombstones",
                "Records without a value, which delete that of their key",
                c.tombstones,
            ),
            ("driftglass_late_events", "Events that came after their pane had closed", c.late),
            ("driftglass_gap_offsets", "Offsets that were gone when they were to be read", c.gaps),
            (
                "driftglass_input_troubles",
                "Troubles of the input that were waited out",
                p.input_troubles.load(Relaxed),
            ),
            (
                "driftglass_storage_failures",
                "Operations on the output that failed, retries included",
                self.job.storage.failures(),
            ),
            (
                "driftglass_partitions_lost",
                "Partitions that another process took over in the middle of work",
                p.partitions_lost.load(Relaxed),
            ),
            (
                "driftglass_evaluations_lost",
                "Times that another process took the evaluation over",
                p.evaluator_lost.load(Relaxed),
            ),
            ("driftglass_window_rows", "Rows of windows committed", c.windows),
            ("driftglass_alert_rows", "Rows of alerts committed", c.alert_rows),
            ("driftglass_alerts_fired", "Alerts that began to fire", c.alerts_fired),
            (
                "driftglass_folded_values",
                "Values of categories counted as __other__ for want of room in a chunk, an hour or a day",
                c.folded_values,
            ),
            ("driftglass_vectors", "Images whose vector was had", c.vectors),
        ];
        for (name, help, value) in all {
            one(to, name, help, &ConstCounter::new(value))?;
        }
        let all = [
            (
                "driftglass_lag_records",
                "Records between here and the end of the partitions read here",
                gauge(p.lag.load(Relaxed)),
            ),
            ("driftglass_partitions", "Partitions that this process owns", gauge(p.owned.load(Relaxed))),
            ("driftglass_evaluates", "Whether this process evaluates", gauge(p.evaluates.load(Relaxed))),
            (
                "driftglass_undecided_events",
                "Events so far ahead of the others that those to come decide whether they count",
                gauge(p.undecided.lock().values().sum()),
            ),
            (
                "driftglass_alerts_waiting",
                "Alert rows that a sink has not taken yet",
                gauge(p.sinks.lock().status().iter().map(|s| s.pending as u64).sum()),
            ),
            (
                "driftglass_storage_failing",
                "Whether the output is waited for",
                i64::from(self.job.storage.is_failing()),
            ),
        ];
        for (name, help, value) in all {
            one(to, name, help, &ConstGauge::new(value))?;
        }
        let at = p.evaluated_to.load(Relaxed);
        if at != 0 {
            let seconds = ConstGauge::new(at as f64 / 1e6);
            one(
                to,
                "driftglass_evaluated_timestamp_seconds",
                "Event time up to which windows are judged",
                &seconds,
            )?;
        }
        Ok(())
    }

    fn reasons(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        let rejected = self.progress.reasons.lock().clone();
        let rejected = rejected.into_iter().map(|(reason, n)| (reason.to_owned(), n));
        family(to, "driftglass_rejected", "Messages refused, by reason", rejected)?;
        self.fields(to)?;
        let refused = self.progress.refused_vectors.lock().clone();
        let refused = refused.into_iter().map(|(reason, n)| (reason.to_string(), n));
        family(to, "driftglass_vectors_refused", "Images refused, by reason", refused)
    }

    fn fields(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        let fields = self.progress.fields.lock().clone();
        let help = "Fields refused without their message, by field and reason";
        let mut encoder =
            to.encode_descriptor("driftglass_fields_refused", help, None, MetricType::Counter)?;
        for ((field, reason), n) in fields {
            let labels = [("field", field), ("reason", reason)];
            ConstCounter::new(n).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn sinks(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        let sinks = self.progress.sinks.lock().status();
        let help = "Alert rows that a sink refused or had no room for, by sink and reason";
        let name = "driftglass_alerts_undelivered";
        let mut encoder = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        for sink in &sinks {
            for (reason, n) in sink.given_up() {
                let labels = [("sink", sink.name.as_str()), ("reason", reason)];
                ConstCounter::new(n).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        let open_panes = self.progress.open_panes.lock().values().sum();
        let s = *self.progress.evaluator_bytes.lock();
        let parts: [(&str, usize); 4] = [
            ("open_panes", open_panes),
            ("waiting_panes", s.waiting_panes),
            ("chunks", s.chunks),
            ("hours", s.hours),
        ];
        let help = "Approximate memory of the state as of the last commit, by part";
        let mut encoder = to.encode_descriptor("driftglass_state_bytes", help, None, MetricType::Gauge)?;
        for (part, bytes) in parts {
            let value = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            value.encode(encoder.encode_family(&[("part", part)])?)?;
        }
        Ok(())
    }

    fn infos(&self, to: &mut DescriptorEncoder<'_>) -> Done {
        info(to, "driftglass_build", "The program", &[("version", env!("CARGO_PKG_VERSION"))])?;
        match self.job.embedder.as_ref().and_then(|e| e.runs()) {
            Some((provider, model)) => {
                let labels = [("provider", provider), ("model", model)];
                info(to, "driftglass_embedding", "What runs the model of images", &labels)
            }
            None => Ok(()),
        }
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Done {
        self.infos(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.reasons(&mut encoder)?;
        self.sinks(&mut encoder)?;
        self.state(&mut encoder)
    }
}

fn one(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: &impl EncodeMetric) -> Done {
    let encoder = to.encode_descriptor(name, help, None, value.metric_type())?;
    value.encode(encoder)
}

fn info(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, labels: &[(&str, &str)]) -> Done {
    let mut encoder: MetricEncoder<'_> = to.encode_descriptor(name, help, None, MetricType::Info)?;
    encoder.encode_info(&labels)
}

fn family(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    by_reason: impl Iterator<Item = (String, u64)>,
) -> Done {
    let mut encoder = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, n) in by_reason {
        let labels = [("reason", reason)];
        ConstCounter::new(n).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
