//! The id of a topic (KIP-516, Kafka 2.8): one that is deleted and created again has another,
//! whatever its offsets say.
//!
//! librdkafka knows it, its Rust wrapper has no name for it: this file asks through the C
//! interface, and is the only one that does.

use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

/// Why an id can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoId {
    /// No answer in time, or the topic is not there at the moment.
    #[error("the topic's id can't be asked for now: {0:?}")]
    NotNow(Code),
    /// The brokers, or what this client may ask them, know no ids.
    #[error("the brokers tell no ids of topics")]
    Never,
}

/// What the brokers say of a topic's id; `None` where they have none.
pub type Told = Result<Option<Arc<str>>, NoId>;

/// Frees what the C library made.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, NoId> {
        NonNull::new(made).map(|p| Self(p, free)).ok_or(NoId::NotNow(Code::Fail))
    }

    fn ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library's function that makes such an object, `new`
        // paired it with the one that frees it, and nothing else frees it.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// Asks the brokers for a topic's id; takes about twice `limit` at most.
///
/// # Errors
/// When they don't tell it.
pub fn topic_id<X: rdkafka::ClientContext>(
    client: &Client<X>,
    topic: &str,
    limit: Duration,
) -> Result<Arc<str>, NoId> {
    let no_broker = NoId::NotNow(Code::BrokerNotAvailable);
    let code = |e: KafkaError| e.rdkafka_error_code().map_or(no_broker, NoId::NotNow);
    let all = client.fetch_metadata(Some(topic), limit).map_err(code)?;
    // One that is there, as a leader is: without a name the client waits for the controller, whom
    // it may not reach.
    let leader = all.topics().iter().flat_map(|t| t.partitions()).map(|p| p.leader()).find(|l| *l >= 0);
    let broker = leader.or_else(|| all.brokers().first().map(|b| b.id())).ok_or(no_broker)?;
    told_by(broker, client, topic, limit)
}

/// Asks one broker.
fn told_by<X: rdkafka::ClientContext>(
    broker: i32,
    client: &Client<X>,
    topic: &str,
    limit: Duration,
) -> Result<Arc<str>, NoId> {
    let name = CString::new(topic).map_err(|_| NoId::Never)?;
    let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX / 2);
    let rk = client.native_ptr();
    let op = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `rk` is the live client that `client` borrows for the whole function, so it outlives
    // all that is made of it here.
    let (options, queue) = unsafe { (c::rd_kafka_AdminOptions_new(rk, op), c::rd_kafka_queue_new(rk)) };
    let options = Owned::new(options, c::rd_kafka_AdminOptions_destroy)?;
    let queue = Owned::new(queue, c::rd_kafka_queue_destroy)?;
    // SAFETY: `options` is live. Without room for a text the library writes none.
    let set =
        unsafe { c::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), millis, ptr::null_mut(), 0) };
    failed(set)?;
    // SAFETY: as above.
    let set = unsafe { c::rd_kafka_AdminOptions_set_broker(options.ptr(), broker, ptr::null_mut(), 0) };
    failed(set)?;
    let mut names = [name.as_ptr()];
    // SAFETY: `names` is an array of one text that ends with a zero; the library copies both before
    // it returns.
    let topics = unsafe { c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) };
    let topics = Owned::new(topics, c::rd_kafka_TopicCollection_destroy)?;
    // SAFETY: all four are live, and the library copies what it needs of topics and options before
    // it returns. It holds a reference to the queue of its own until it has answered, so that the
    // queue may be let go of here before.
    unsafe { c::rd_kafka_DescribeTopics(rk, topics.ptr(), options.ptr(), queue.ptr()) };
    // SAFETY: `queue` is live, and polled by nobody else.
    let event = unsafe { c::rd_kafka_queue_poll(queue.ptr(), millis) };
    let event =
        Owned::new(event, c::rd_kafka_event_destroy).map_err(|_| NoId::NotNow(Code::RequestTimedOut))?;
    // SAFETY: `event` is live, and was made for one call: the only kind that this queue was given
    // to.
    failed(unsafe { c::rd_kafka_event_error(event.ptr()) })?;
    let mut n = 0;
    // SAFETY: as above; the function answers null for an event of another kind, which is looked at
    // before it is used. What it and the functions below answer belongs to the event, which lives
    // to the end of this function.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event.ptr());
        if result.is_null() {
            return Err(NoId::NotNow(Code::Fail));
        }
        c::rd_kafka_DescribeTopics_result_topics(result, &raw mut n)
    };
    if described.is_null() || n != 1 {
        return Err(NoId::NotNow(Code::Fail));
    }
    // SAFETY: the array has `n`, so one, elements.
    let topic = unsafe { *described };
    // SAFETY: `topic` belongs to the event. Its error is null or belongs to it, too, and the code
    // of a null error is that of none.
    failed(unsafe { c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic)) })?;
    // SAFETY: `topic` belongs to the event, and its id, which is looked at before it is used, to
    // it.
    let (most, least) = unsafe {
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Err(NoId::Never);
        }
        (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id))
    };
    // What brokers tell that know none.
    if (most, least) == (0, 0) {
        return Err(NoId::Never);
    }
    Ok(format!("{most:016x}{least:016x}").into())
}

/// What an error of the library comes to.
fn failed(error: c::rd_kafka_resp_err_t) -> Result<(), NoId> {
    if error == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    match Code::from(error) {
        Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Err(NoId::Never),
        code => Err(NoId::NotNow(code)),
    }
}
