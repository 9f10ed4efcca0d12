//! Alerts posted to a URL as JSON.

use super::error::SinkError;
use super::row::AlertRow;
use super::sink::Sink;
use reqwest::{Client, StatusCode, Url, header, redirect};
use serde_json::json;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts `{"alerts": […]}` with an `Idempotency-Key` that is the same for the same rows.
pub struct Webhook {
    url: Url,
    /// "webhook https://host": the rest of a webhook's URL is often its password.
    name: String,
    timeout: Duration,
    /// Created at the first delivery, on the thread that delivers: a runtime can't be dropped
    /// inside another.
    client: Option<(Runtime, Client)>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Webhook {
    /// A webhook at an `http` or `https` URL; nothing is sent yet.
    ///
    /// # Errors
    /// [`SinkError::Config`] when it is no such URL; the message does not hold the URL.
    pub fn new(url: &str) -> Result<Self, SinkError> {
        let wrong = |message: String| SinkError::Config { key: "webhook", message };
        let url =
            Url::parse(url).map_err(|e| wrong(format!("is not a URL ({e}); write https://host/path")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("{}: does not accept POST; write https://host/path", url.scheme())));
        }
        let name = format!("webhook {}", server(&url));
        Ok(Self { url, name, timeout: TIMEOUT, client: None })
    }

    fn client(&mut self) -> Result<&(Runtime, Client), String> {
        if self.client.is_none() {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
            // A redirect would turn the POST into a GET and lose the alert silently.
            let client = Client::builder()
                .timeout(self.timeout)
                .redirect(redirect::Policy::none())
                .user_agent(concat!("driftglass/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| causes(&e.without_url()))?;
            self.client = Some((runtime, client));
        }
        self.client.as_ref().ok_or_else(|| "no client".to_owned())
    }

    fn post(&mut self, rows: &[AlertRow]) -> Result<WebhookResponse, String> {
        let (url, key) = (self.url.clone(), idempotency_key(rows));
        let body = json!({ "alerts": rows.iter().map(AlertRow::json).collect::<Vec<_>>() });
        let (runtime, client) = self.client()?;
        let request = client.post(url).header("Idempotency-Key", key).json(&body);
        runtime.block_on(async {
            let answer = request.send().await.map_err(|e| causes(&e.without_url()))?;
            let location = answer.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let redirects_to = location.and_then(|l| answer.url().join(l).ok()).map(|to| server(&to));
            Ok(WebhookResponse { status: answer.status(), redirects_to })
        })
    }
}

/// What a receiver answered.
struct WebhookResponse {
    status: StatusCode,
    /// The server that a redirect names.
    redirects_to: Option<String>,
}

impl WebhookResponse {
    /// For an answer that is final: the counter's label, and a line that says what to do.
    fn refusal(&self) -> (&'static str, String) {
        let status = self.status;
        let (reason, advice) = match status.as_u16() {
            300..=399 => {
                let to = self.redirects_to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
                (
                    "redirected",
                    format!(
                        ", a redirect{to}: redirects are not followed; write the final address in alerts.webhook"
                    ),
                )
            }
            401 | 403 => ("refused", ": check the credentials in alerts.webhook".to_owned()),
            404 | 405 | 410 => ("refused", ": check the path of alerts.webhook".to_owned()),
            _ => (
                "refused",
                ": the receiver must take POST {\"alerts\": […]} as JSON; let a relay translate for one that doesn't"
                    .to_owned(),
            ),
        };
        (reason, format!("answered {status}{advice}"))
    }
}

/// Scheme and host of a URL: the rest of a webhook's URL is often its password.
fn server(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |p| format!(":{p}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// An error with its causes on one line: reqwest's own text stops at "error sending request".
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        text = format!("{text}: {e}");
        next = e.source();
    }
    text
}

/// Hash of the transitions in a request.
fn idempotency_key(rows: &[AlertRow]) -> String {
    let mut h = blake3::Hasher::new();
    for r in rows {
        h.update(r.id.as_bytes()).update(r.state.name().as_bytes()).update(&r.at.to_le_bytes());
    }
    h.finalize().to_hex()[..32].to_owned()
}

impl Sink for Webhook {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError> {
        let sink = self.name.clone();
        match self.post(rows) {
            Ok(a) if a.status.is_success() => Ok(()),
            // The receiver fails or is busy; anything else is its answer to these rows.
            Ok(a)
                if a.status.is_server_error()
                    || matches!(a.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) =>
            {
                Err(SinkError::Retry { sink, message: format!("answered {}", a.status) })
            }
            Ok(a) => {
                let (reason, message) = a.refusal();
                Err(SinkError::Refused { sink, reason, message })
            }
            Err(message) => Err(SinkError::Retry { sink, message }),
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
