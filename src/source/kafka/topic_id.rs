//! The id of a topic (KIP-516, Kafka 2.8): a recreated topic has another one.
//!
//! The Rust wrapper of librdkafka doesn't offer it, so this file, and no other, uses the C
//! interface.

use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

/// Why a topic's id is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicIdError {
    /// No answer in time, or the topic doesn't exist at the moment.
    #[error("can't get the topic's id now: {0:?}")]
    NotNow(Code),
    /// The brokers have no ids, or this client may not ask for them.
    #[error("the brokers report no ids of topics")]
    Never,
}

/// A topic's id; `None` if the brokers have none.
pub type TopicIdAnswer = Result<Option<Arc<str>>, TopicIdError>;

/// An object of the C library, freed when dropped.
struct LibraryHandle<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> LibraryHandle<T> {
    fn new(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, TopicIdError> {
        NonNull::new(made).map(|p| Self(p, free)).ok_or(TopicIdError::NotNow(Code::Fail))
    }

    fn ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for LibraryHandle<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library's function that makes such an object, `new`
        // paired it with the one that frees it, and nothing else frees it.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// Asks the brokers for a topic's id. Takes at most about twice `limit`.
///
/// # Errors
/// When they don't return it.
pub fn topic_id<X: rdkafka::ClientContext>(
    client: &Client<X>,
    topic: &str,
    limit: Duration,
) -> Result<Arc<str>, TopicIdError> {
    let no_broker = TopicIdError::NotNow(Code::BrokerNotAvailable);
    let code = |e: KafkaError| e.rdkafka_error_code().map_or(no_broker, TopicIdError::NotNow);
    let all = client.fetch_metadata(Some(topic), limit).map_err(code)?;
    // A broker that is up, as a leader is. By default the client would ask the controller, which
    // may be unreachable.
    let leader = all.topics().iter().flat_map(|t| t.partitions()).map(|p| p.leader()).find(|l| *l >= 0);
    let broker = leader.or_else(|| all.brokers().first().map(|b| b.id())).ok_or(no_broker)?;
    ask_broker(broker, client, topic, limit)
}

/// Asks one broker.
fn ask_broker<X: rdkafka::ClientContext>(
    broker: i32,
    client: &Client<X>,
    topic: &str,
    limit: Duration,
) -> Result<Arc<str>, TopicIdError> {
    let name = CString::new(topic).map_err(|_| TopicIdError::Never)?;
    let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX / 2);
    let rk = client.native_ptr();
    let op = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `rk` is the live client that `client` borrows for the whole function, so it outlives
    // all that is made of it here.
    let (options, queue) = unsafe { (c::rd_kafka_AdminOptions_new(rk, op), c::rd_kafka_queue_new(rk)) };
    let options = LibraryHandle::new(options, c::rd_kafka_AdminOptions_destroy)?;
    let queue = LibraryHandle::new(queue, c::rd_kafka_queue_destroy)?;
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
    let topics = LibraryHandle::new(topics, c::rd_kafka_TopicCollection_destroy)?;
    // SAFETY: all four are live, and the library copies what it needs of topics and options before
    // it returns. It keeps its own reference to the queue until it has answered, so that the
    // queue may be dropped here before.
    unsafe { c::rd_kafka_DescribeTopics(rk, topics.ptr(), options.ptr(), queue.ptr()) };
    // SAFETY: `queue` is live, and polled by no one else.
    let event = unsafe { c::rd_kafka_queue_poll(queue.ptr(), millis) };
    let event = LibraryHandle::new(event, c::rd_kafka_event_destroy)
        .map_err(|_| TopicIdError::NotNow(Code::RequestTimedOut))?;
    // SAFETY: `event` is live, and was made for one call: the only kind that this queue was given
    // to.
    failed(unsafe { c::rd_kafka_event_error(event.ptr()) })?;
    let mut n = 0;
    // SAFETY: as above; the function answers null for an event of another kind, which is checked
    // before it is used. What it and the functions below answer belongs to the event, which lives
    // to the end of this function.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event.ptr());
        if result.is_null() {
            return Err(TopicIdError::NotNow(Code::Fail));
        }
        c::rd_kafka_DescribeTopics_result_topics(result, &raw mut n)
    };
    if described.is_null() || n != 1 {
        return Err(TopicIdError::NotNow(Code::Fail));
    }
    // SAFETY: the array has `n`, so one, elements.
    let topic = unsafe { *described };
    // SAFETY: `topic` belongs to the event. Its error is null or belongs to it, too, and the code
    // of a null error is that of none.
    failed(unsafe { c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic)) })?;
    // SAFETY: `topic` belongs to the event, and its id, which is checked before it is used, to
    // it.
    let (most, least) = unsafe {
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Err(TopicIdError::Never);
        }
        (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id))
    };
    // The answer of brokers that have none.
    if (most, least) == (0, 0) {
        return Err(TopicIdError::Never);
    }
    Ok(format!("{most:016x}{least:016x}").into())
}

/// Converts an error of the library.
fn failed(error: c::rd_kafka_resp_err_t) -> Result<(), TopicIdError> {
    if error == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    match Code::from(error) {
        Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Err(TopicIdError::Never),
        code => Err(TopicIdError::NotNow(code)),
    }
}
