//! The webhook against a real HTTP server on loopback that answers as a test's script says.

use super::super::outbox::{Backoff, Outbox};
use super::super::row::AlertState;
use super::super::samples::{T, info, row};
use super::*;
use std::sync::mpsc::{Receiver, channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server was sent: the head in lower case, and the body.
struct ReceivedRequest {
    head: String,
    body: serde_json::Value,
}

impl ReceivedRequest {
    fn key(&self) -> &str {
        self.head.lines().find_map(|l| l.strip_prefix("idempotency-key: ")).unwrap()
    }

    fn segments(&self) -> Vec<&str> {
        self.body["alerts"].as_array().unwrap().iter().map(|a| a["segment"].as_str().unwrap()).collect()
    }
}

/// A server that answers with these statuses, then with 200; `None` breaks off without an answer.
fn server(answers: &[Option<u16>]) -> (String, Receiver<ReceivedRequest>) {
    let (requests, received) = channel();
    let (address, bound) = channel();
    let mut answers: std::collections::VecDeque<Option<u16>> = answers.iter().copied().collect();
    std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
                let (head, body) = loop {
                    let n = stream.read(&mut chunk).await.unwrap();
                    assert!(n > 0, "the request ended early");
                    bytes.extend_from_slice(&chunk[..n]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let head = head.to_ascii_lowercase();
                    let length: usize = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
                    if body.len() >= length {
                        break (head, serde_json::from_str(body).unwrap());
                    }
                };
                if requests.send(ReceivedRequest { head, body }).is_err() {
                    return;
                }
                if let Some(status) = answers.pop_front().unwrap_or(Some(200)) {
                    let answer = format!("HTTP/1.1 {status} X\r\nlocation: https://other.example.org/secret-place\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
    });
    (format!("http://{}/services/T0/secret-token", bound.recv().unwrap()), received)
}

fn alert(state: AlertState, segment: &str) -> AlertRow {
    let mut a = AlertRow::new(&info("r", 0, 0), state, &row(segment, "nsfw", T), T, T);
    a.firing_since = (state != AlertState::Pending).then_some(T);
    a
}

#[test]
fn a_receiver_that_fails_twice_gets_everything_in_order_under_the_same_key() {
    let (url, received) = server(&[Some(503), None]);
    let backoff = Backoff { first: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let mut outbox = Outbox::start_with(vec![Box::new(Webhook::new(&url).unwrap())], backoff, 1000).unwrap();
    outbox.send(vec![
        alert(AlertState::Pending, "tenant=p"),
        alert(AlertState::Firing, "tenant=a"),
        alert(AlertState::Firing, "tenant=b"),
    ]);
    outbox.send(vec![alert(AlertState::Pending, "tenant=p")]);
    outbox.send(vec![alert(AlertState::Stale, "tenant=c"), alert(AlertState::Resolved, "tenant=a")]);
    assert_eq!(outbox.finish(Duration::from_secs(60)), 0);
    let all: Vec<ReceivedRequest> = received.try_iter().collect();
    let segments: Vec<Vec<&str>> = all.iter().map(ReceivedRequest::segments).collect();
    assert_eq!(
        segments,
        [
            ["tenant=a", "tenant=b"],
            ["tenant=a", "tenant=b"],
            ["tenant=a", "tenant=b"],
            ["tenant=c", "tenant=a"]
        ]
    );
    assert!(all[0].key() == all[1].key() && all[1].key() == all[2].key() && all[2].key() != all[3].key());
    assert!(all[0].head.starts_with("post /services/t0/secret-token http/1.1"));
    assert!(all[0].head.contains("content-type: application/json"));
    assert_eq!(all[3].body["alerts"][1]["state"], "resolved");
}

#[test]
fn answers_tell_what_may_be_tried_again() {
    let rows = [alert(AlertState::Firing, "tenant=a")];
    for (status, again) in [
        (500, true),
        (503, true),
        (429, true),
        (408, true),
        (400, false),
        (401, false),
        (404, false),
        (302, false),
    ] {
        let (url, _received) = server(&[Some(status)]);
        let e = Webhook::new(&url).unwrap().deliver(&rows).unwrap_err();
        assert_eq!(matches!(e, SinkError::Retry { .. }), again, "{e}");
        assert!(e.to_string().contains(&status.to_string()));
        assert!(!e.to_string().contains("secret"), "{e}");
    }
}

#[test]
fn refused_rows_are_counted_by_reason_and_the_error_says_what_to_do() {
    for (status, reason, says) in [
        (302, "redirected", "a redirect to https://other.example.org: redirects are not followed"),
        (307, "redirected", "write the final address in alerts.webhook"),
        (400, "refused", "the receiver must take POST"),
        (401, "refused", "check the credentials"),
        (404, "refused", "check the path"),
    ] {
        let (url, received) = server(&[Some(status), Some(status)]);
        let e = Webhook::new(&url).unwrap().deliver(&[alert(AlertState::Firing, "tenant=a")]).unwrap_err();
        assert!(e.to_string().contains(says), "{e}");
        let mut outbox = Outbox::start(vec![Box::new(Webhook::new(&url).unwrap())]).unwrap();
        let monitor = outbox.monitor();
        outbox.send(vec![alert(AlertState::Firing, "tenant=a")]);
        assert_eq!(outbox.finish(Duration::from_secs(60)), 1);
        assert_eq!(monitor.status()[0].given_up()[reason], 1);
        assert_eq!(received.try_iter().count(), 2, "one request each, none repeated");
    }
}

#[test]
fn errors_name_the_host_and_no_secret() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sink =
        Webhook::new(&format!("http://user:password@127.0.0.1:{port}/T0/secret-token?key=secret-key"))
            .unwrap();
    let e = sink.deliver(&[alert(AlertState::Firing, "tenant=a")]).unwrap_err().to_string();
    assert!(e.contains(&format!("http://127.0.0.1:{port}")), "{e}");
    assert!(
        !e.contains("secret") && !e.contains("password") && !format!("{sink:?}").contains("secret"),
        "{e}"
    );
    assert!(!e.contains('\n'), "{e}");
}

#[test]
fn a_receiver_that_does_not_answer_is_given_up_after_the_timeout() {
    // Bound and never accepted: the connection stands, and nothing comes back.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sink = Webhook::new(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    assert_eq!(sink.timeout, TIMEOUT);
    sink.timeout = Duration::from_millis(50);
    let e = sink.deliver(&[alert(AlertState::Firing, "tenant=a")]).unwrap_err();
    assert!(matches!(e, SinkError::Retry { .. }), "{e}");
}

#[test]
fn what_is_no_url_to_post_to_is_a_configuration_error() {
    for url in ["hooks.example.org/secret", "ftp://u:secret@host/", ""] {
        let e = Webhook::new(url).unwrap_err().to_string();
        assert!(e.starts_with("alerts.webhook: ") && !e.contains("secret"), "{e}");
    }
}
