//! A store in memory whose every operation is a step: the scheduler decides who runs next, whether
//! an answer is lost, and who dies.

use super::baton::{Baton, Verdict};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is broken on purpose, to see that the checks bite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    None,
    /// A manifest that exists is overwritten: owners are not fenced.
    NoFence,
    /// A file of panes that was acknowledged is not there.
    LostPanes,
    /// An owner continues from the commit before the newest.
    OldState,
    /// Staged files don't get their final names.
    Unpublished,
}

/// What was written permanently, in order: manifests with their content.
pub type Written = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// One member's view of the store.
#[derive(Clone)]
pub struct SteppedStore {
    pub inner: Arc<InMemory>,
    pub baton: Arc<Baton>,
    pub me: usize,
    pub dead: Arc<AtomicBool>,
    pub bug: Bug,
    pub written: Written,
}

impl std::fmt::Debug for SteppedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SteppedStore of member {}", self.me)
    }
}

impl std::fmt::Display for SteppedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "simulated", source: "the process is dead".into() }
}

impl SteppedStore {
    /// Takes a step and does `f`, as the scheduler says.
    async fn step<T, F: Future<Output = Result<T>>>(&self, f: impl Fn() -> F) -> Result<T> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(dead());
        }
        match self.baton.step(self.me) {
            Verdict::Go => f().await,
            Verdict::Twice => {
                let _ = f().await;
                f().await
            }
            verdict => {
                if verdict == Verdict::DieAfter {
                    let _ = f().await;
                }
                self.dead.store(true, Ordering::Relaxed);
                Err(dead())
            }
        }
    }

    async fn put(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.bug == Bug::LostPanes && at.as_ref().starts_with("_panes") && at.as_ref().contains("4-") {
            return Ok(PutResult { e_tag: None, version: None });
        }
        let manifest = options.mode == PutMode::Create && at.as_ref().starts_with("_chain");
        let mode = if self.bug == Bug::NoFence { PutMode::Overwrite } else { options.mode.clone() };
        let done = self.inner.put_opts(at, payload.clone(), PutOptions { mode, ..options }).await?;
        if manifest {
            let bytes: Vec<u8> = payload.iter().flat_map(|b| b.to_vec()).collect();
            self.written.lock().push((at.to_string(), bytes));
        }
        Ok(done)
    }

    /// With [`Bug::OldState`] a claim's pointer to the newest commit is one too low.
    fn read(&self, at: &Path) -> Path {
        let text = at.as_ref();
        match text.rsplit_once("epoch=").and_then(|(folder, n)| {
            let n: u64 = n.strip_suffix(".json")?.parse().ok()?;
            (self.bug == Bug::OldState && n > 3 && folder.contains("partition"))
                .then(|| format!("{folder}epoch={:012}.json", n - 1))
        }) {
            Some(older) => older.into(),
            None => at.clone(),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for SteppedStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.step(|| self.put(at, payload.clone(), options.clone())).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let at = self.read(at);
        self.step(|| self.inner.get_opts(&at, options.clone())).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        all.then(move |at| {
            let this = this.clone();
            async move {
                let at = at?;
                this.step(|| object_store::ObjectStoreExt::delete(&*this.inner, &at)).await?;
                Ok(at)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        async move {
            let listed =
                this.step(|| async { Ok(this.inner.list(prefix.as_ref()).collect::<Vec<_>>().await) }).await;
            match listed {
                Ok(all) => futures::stream::iter(all).boxed(),
                Err(e) => futures::stream::iter([Err(e)]).boxed(),
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.step(|| self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if self.bug == Bug::Unpublished && from.as_ref().contains("3-") {
            return Ok(());
        }
        self.step(|| self.inner.copy_opts(from, to, options.clone())).await
    }
}
