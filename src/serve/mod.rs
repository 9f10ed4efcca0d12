//! A running job over HTTP: metrics for Prometheus, and its health. Nothing of an event's content.

mod error;
mod metrics;

pub use error::ServeError;
pub use metrics::JobMetrics;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The content type that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` and `/health` until the runtime ends. Returns the address: with port 0 the
/// system chooses the port.
///
/// # Errors
/// When the address is invalid or in use.
pub fn start(address: &str, metrics: JobMetrics, runtime: &Handle) -> Result<SocketAddr, ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_owned(), source };
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let metrics = Arc::new(metrics);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&metrics)));
    let registry = Arc::new(registry);
    let app = Router::new()
        .route("/metrics", get(move || async move { page(&registry) }))
        .route("/health", get(move || async move { metrics.health() }));
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics server stopped");
        }
    });
    tracing::info!(address = %bound, "metrics server started");
    Ok(bound)
}

fn page(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples::firing;
    use crate::alert::{AlertRow, Outbox, Sink, SinkError};
    use crate::config::Config;
    use crate::engine::{Job, JobKind, Progress};
    use crate::source::PartitionId;
    use crate::store::Storage;
    use std::io::{Read, Write};

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn metrics_show_the_counters() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let storage = Storage::open(dir.path().to_str().unwrap(), runtime.handle().clone()).unwrap();
        let job = Arc::new(Job::open(Config::default(), JobKind::Run, storage, false).unwrap());
        let progress = Arc::new(Progress::default());
        Progress::add(&progress.events, 7);
        progress.reasons.lock().insert("not_json", 3);
        progress.fields.lock().insert(("quality.aesthetic", "out_of_range"), 5);
        progress.evaluated_to.store(1_768_197_600_500_000, std::sync::atomic::Ordering::Relaxed);
        progress.open_panes.lock().extend([(PartitionId(0), 30), (PartitionId(4), 12)]);
        progress.evaluator_bytes.lock().hours = 9;
        let outbox = Outbox::start(vec![Box::new(RefusingSink) as Box<dyn Sink>]).unwrap();
        *progress.sinks.lock() = outbox.monitor();
        let bound = start("127.0.0.1:0", JobMetrics::new(job, progress), runtime.handle()).unwrap();
        let page = get(bound, "/metrics");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("application/openmetrics-text"), "{page}");
        for line in [
            "driftglass_events_total 7\n",
            "driftglass_rejected_total{reason=\"not_json\"} 3\n",
            "driftglass_fields_refused_total{field=\"quality.aesthetic\",reason=\"out_of_range\"} 5\n",
            "driftglass_evaluated_timestamp_seconds 1768197600.5\n",
            "driftglass_storage_failing 0\n",
            "driftglass_state_bytes{part=\"open_panes\"} 42\n",
            "driftglass_state_bytes{part=\"hours\"} 9\n",
            "driftglass_alerts_undelivered_total{sink=\"webhook https://x\",reason=\"refused\"} 0\n",
            "driftglass_alerts_waiting 0\n",
            "driftglass_build_info{version=\"",
            "# EOF\n",
        ] {
            assert!(page.contains(line), "{line} is missing in {page}");
        }
        let mut outbox = outbox;
        outbox.send(vec![firing()]);
        assert_eq!(outbox.finish(std::time::Duration::from_secs(60)), 1);
        let page = get(bound, "/metrics");
        let line = "driftglass_alerts_undelivered_total{sink=\"webhook https://x\",reason=\"refused\"} 1\n";
        assert!(page.contains(line), "{page}");
        assert!(get(bound, "/health").ends_with("\r\n\r\nok\n"));
        let taken = start(
            &bound.to_string(),
            JobMetrics::new(Arc::new(other(&runtime)), Arc::default()),
            runtime.handle(),
        );
        assert!(taken.unwrap_err().to_string().contains("serve.listen"));
    }

    /// Scripts and dashboards read these names.
    #[test]
    fn the_page_has_all_metrics_and_no_others() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let job = Arc::new(other(&runtime));
        let progress = Arc::new(Progress::default());
        progress.evaluated_to.store(1, std::sync::atomic::Ordering::Relaxed);
        let metrics = JobMetrics::new(job, progress);
        let bound = start("127.0.0.1:0", metrics, runtime.handle()).unwrap();
        let page = get(bound, "/metrics");
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut types: Vec<&str> = types.collect();
        types.sort_unstable();
        assert_eq!(
            types,
            [
                "driftglass_alert_rows counter",
                "driftglass_alerts_fired counter",
                "driftglass_alerts_undelivered counter",
                "driftglass_alerts_waiting gauge",
                "driftglass_build info",
                "driftglass_evaluated_timestamp_seconds gauge",
                "driftglass_evaluates gauge",
                "driftglass_evaluations_lost counter",
                "driftglass_events counter",
                "driftglass_fields_refused counter",
                "driftglass_folded_values counter",
                "driftglass_gap_offsets counter",
                "driftglass_input_troubles counter",
                "driftglass_lag_records gauge",
                "driftglass_late_events counter",
                "driftglass_message_bytes counter",
                "driftglass_messages counter",
                "driftglass_mistyped_fields counter",
                "driftglass_partitions gauge",
                "driftglass_partitions_lost counter",
                "driftglass_rejected counter",
                "driftglass_state_bytes gauge",
                "driftglass_storage_failing gauge",
                "driftglass_storage_failures counter",
                "driftglass_tombstones counter",
                "driftglass_undecided_events gauge",
                "driftglass_vectors counter",
                "driftglass_vectors_refused counter",
                "driftglass_window_rows counter",
            ]
        );
    }

    struct RefusingSink;

    impl Sink for RefusingSink {
        fn name(&self) -> String {
            "webhook https://x".into()
        }

        fn deliver(&mut self, _: &[AlertRow]) -> Result<(), SinkError> {
            Err(SinkError::Refused { sink: self.name(), reason: "refused", message: "no".into() })
        }
    }

    fn other(runtime: &tokio::runtime::Runtime) -> Job {
        let store = Arc::new(object_store::memory::InMemory::new());
        let storage = Storage::over(store, "memory:///", runtime.handle().clone());
        Job::open(Config::default(), JobKind::Run, storage, false).unwrap()
    }
}
