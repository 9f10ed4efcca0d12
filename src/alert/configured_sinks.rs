//! Which sinks a configuration asks for.

use super::error::SinkError;
use super::json_lines::JsonLines;
use super::sink::Sink;
use super::webhook::Webhook;
use crate::config::Alerts;

/// The sinks that a configuration asks for.
///
/// # Errors
/// [`SinkError::Config`] when the webhook is no URL that accepts a POST.
pub fn configured_sinks(alerts: &Alerts) -> Result<Vec<Box<dyn Sink>>, SinkError> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(path) = &alerts.jsonl {
        sinks.push(Box::new(JsonLines::new(path)));
    }
    if let Some(url) = &alerts.webhook {
        sinks.push(Box::new(Webhook::new(url)?));
    }
    Ok(sinks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_its_sinks() {
        let alerts = Alerts {
            jsonl: Some("-".into()),
            webhook: Some("https://u:secret@hooks.example.org/T0/token".into()),
            ..Alerts::default()
        };
        let names: Vec<String> = configured_sinks(&alerts).unwrap().iter().map(|s| s.name()).collect();
        assert_eq!(names, ["standard output", "webhook https://hooks.example.org"]);
        assert!(configured_sinks(&Alerts::default()).unwrap().is_empty());
    }
}
