//! The encoder: one thread that owns the model and runs it on batches of prepared images.
//!
//! Images are decoded and preprocessed elsewhere and wait in a bounded queue, so that both steps
//! overlap and neither gets far ahead.

pub use super::error::EncodeError;
use super::model::Model;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a batch with at least one image waits for more.
const GATHER: Duration = Duration::from_millis(4);

/// A prepared image, and where to send its vector.
struct EncodeTask {
    tensor: Vec<f32>,
    to: oneshot::Sender<Result<Arc<[f32]>, EncodeError>>,
}

/// Counters of the encoder.
#[derive(Debug, Default)]
pub struct EncoderCounts {
    /// Number of images.
    pub images: AtomicU64,
    /// Number of batches.
    pub runs: AtomicU64,
    /// Time in the model, microseconds.
    pub busy_us: AtomicU64,
}

/// Sends images to the thread that runs the model.
#[derive(Debug, Clone)]
pub struct Encoder {
    tasks: mpsc::Sender<EncodeTask>,
    counts: Arc<EncoderCounts>,
}

impl Encoder {
    /// Starts the thread; it ends when the last handle is dropped.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start(model: Model, batch: usize) -> std::io::Result<Self> {
        let batch = model.max_batch().map_or(batch, |most| batch.min(most)).max(1);
        let (tasks, from) = mpsc::channel(2 * batch);
        let counts = Arc::new(EncoderCounts::default());
        let of_thread = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("encoder".into())
            .spawn(move || encode_all(model, batch, from, &of_thread))?;
        Ok(Self { tasks, counts })
    }

    /// Encodes one image; waits for its turn.
    ///
    /// # Errors
    /// When the model fails, or its thread has stopped.
    pub async fn encode(&self, tensor: Vec<f32>) -> Result<Arc<[f32]>, EncodeError> {
        let (to, from) = oneshot::channel();
        self.tasks.send(EncodeTask { tensor, to }).await.map_err(|_| EncodeError::Gone)?;
        from.await.map_err(|_| EncodeError::Gone)?
    }

    /// Its counters.
    #[must_use]
    pub fn counts(&self) -> &EncoderCounts {
        &self.counts
    }
}

fn encode_all(mut model: Model, most: usize, mut from: mpsc::Receiver<EncodeTask>, counts: &EncoderCounts) {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    while let Some(first) = from.blocking_recv() {
        let mut tasks = vec![first];
        let until = Instant::now() + GATHER;
        while tasks.len() < most {
            match from.try_recv() {
                Ok(task) => tasks.push(task),
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(_) => break,
            }
        }
        input.clear();
        output.clear();
        tasks.iter().for_each(|t| input.extend_from_slice(&t.tensor));
        let started = Instant::now();
        let done = model.run(&input, tasks.len(), &mut output).map_err(|e| EncodeError::Model(Arc::new(e)));
        counts.images.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        counts.runs.fetch_add(1, Ordering::Relaxed);
        counts.busy_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        let dimension = model.dimension();
        for (i, task) in tasks.into_iter().enumerate() {
            let vector = done.clone().map(|()| Arc::from(&output[i * dimension..(i + 1) * dimension]));
            // The caller may no longer wait.
            let _ = task.to.send(vector);
        }
    }
}
