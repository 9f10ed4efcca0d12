//! Properties of the Kafka client: fixed ones, defaults, and the user's own.

use crate::source::error::SourceError;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;

/// Properties that correctness depends on, with the reason why they can't be changed.
const FIXED: &[(&str, &str, &str)] = &[
    (
        "enable.auto.commit",
        "false",
        "positions are kept with the results, and Kafka's own offsets are written after them",
    ),
    ("enable.auto.offset.store", "false", "positions are kept with the results"),
    ("enable.partition.eof", "true", "it reports the end of a partition"),
    ("auto.offset.reset", "error", "a reset would skip or repeat records silently"),
];

/// Properties that have their own configuration keys.
const NAMED: &[(&str, &str)] = &[
    ("bootstrap.servers", "input.kafka.brokers"),
    ("metadata.broker.list", "input.kafka.brokers"),
    ("group.id", "input.kafka.group"),
];

/// Defaults, which the user's properties override.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "driftglass"),
    ("partition.assignment.strategy", "range"),
    // New partitions are found within this time, and read from their start.
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("statistics.interval.ms", "5000"),
    ("socket.keepalive.enable", "true"),
    // Large fetches under load, short waits otherwise.
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.max.bytes", "33554432"),
    ("max.partition.fetch.bytes", "4194304"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "65536"),
    // Retries a full queue soon; librdkafka's default of a second costs throughput.
    ("fetch.queue.backoff.ms", "20"),
];

/// The client's configuration.
///
/// # Errors
/// When a property is one of those that can't be changed.
pub fn client_config(
    brokers: &str,
    group: &str,
    properties: &BTreeMap<String, String>,
) -> Result<ClientConfig, SourceError> {
    let refuse = |key: &str, message: String| Err(SourceError::Property { key: key.to_owned(), message });
    let mut config = ClientConfig::new();
    DEFAULTS.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    for (key, value) in properties {
        if let Some((_, fixed, why)) = FIXED.iter().find(|(k, ..)| k == key) {
            if value != fixed {
                return refuse(key, format!("stays {fixed}: {why}; remove it"));
            }
        } else if let Some((_, instead)) = NAMED.iter().find(|(k, _)| k == key) {
            return refuse(key, format!("is set by {instead}; remove it"));
        }
        config.set(key, value);
    }
    // `fetch.message.max.bytes` is the older name of the same property; whichever the user wrote
    // must win.
    if properties.contains_key("fetch.message.max.bytes") {
        config.remove("max.partition.fetch.bytes");
    }
    FIXED.iter().for_each(|(key, value, _)| {
        config.set(*key, *value);
    });
    config.set("bootstrap.servers", brokers).set("group.id", group);
    Ok(config)
}

/// An error from creating the client, without the values of properties.
pub fn creation_error(e: KafkaError) -> SourceError {
    match e {
        KafkaError::ClientConfig(_, message, key, _) => {
            // The client's message may quote the value, as in `Invalid value "…" for configuration
            // property …`.
            let unknown = message.contains("No such configuration property");
            let message =
                if unknown { "librdkafka has no such property" } else { "librdkafka refuses its value" };
            SourceError::Property { key, message: message.to_owned() }
        }
        source => SourceError::Kafka { what: "can't create the client".into(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::BaseConsumer;

    fn with(key: &str, value: &str) -> Result<ClientConfig, SourceError> {
        client_config("b:9092", "g", &BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn users_change_what_is_theirs_to_change() {
        let config = with("partition.assignment.strategy", "cooperative-sticky").unwrap();
        assert_eq!(config.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert!(with("auto.offset.reset", "latest").unwrap_err().to_string().contains("stays error"));
        assert!(with("auto.offset.reset", "error").is_ok());
        assert!(with("group.id", "x").unwrap_err().to_string().contains("input.kafka.group"));
    }

    #[test]
    fn errors_name_the_property_and_keep_its_value_secret() {
        let create = |key, value| {
            let made: Result<BaseConsumer, _> = with(key, value).unwrap().create();
            creation_error(made.err().unwrap()).to_string()
        };
        assert!(create("sasl.pasword", "hunter2").contains("sasl.pasword"));
        let refused = create("security.protocol", "hunter2");
        assert!(refused.contains("security.protocol") && !refused.contains("hunter2"), "{refused}");
    }
}
