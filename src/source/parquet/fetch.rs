//! A Parquet file in an object store (the local file system is one) as the Parquet reader wants it.

use crate::source::error::SourceError;
use crate::source::input_file::{InputFile, Place};
use ::bytes::Bytes;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::arrow::async_reader::AsyncFileReader;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Bytes at a file's end that are read at first: most archives' metadata lie in them.
const FOOTER: usize = 64 << 10;

/// Reads ranges of one object.
#[derive(Debug, Clone)]
pub struct Fetch {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for Fetch {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store.get_range(&self.path, range).map_err(|e| ParquetError::External(Box::new(e))).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let read = async move { self.store.get_ranges(&self.path, &ranges).await };
        read.map_err(|e| ParquetError::External(Box::new(e))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        let reader =
            ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER)).with_arrow_reader_options(options);
        async move { reader.load_and_finish(self, size).await.map(Arc::new) }.boxed()
    }
}

/// An archive's file, opened: its metadata are read, its rows are not.
#[derive(Debug, Clone)]
pub struct Opened {
    /// As people know it.
    pub name: String,
    /// Reads it.
    pub fetch: Fetch,
    /// What it holds.
    pub metadata: ArrowReaderMetadata,
}

impl Opened {
    /// Reads a file's metadata.
    pub fn open(file: &InputFile, handle: &Handle) -> std::result::Result<Self, SourceError> {
        let name = file.name.clone();
        let stored = |source| SourceError::stored(&file.name, source);
        let (store, path): (Arc<dyn ObjectStore>, _) = match &file.place {
            Place::Object { store, path } => (Arc::clone(store), path.clone()),
            Place::Local(path) => {
                // A path of an object store has no `..`, and takes links for what they are.
                let absolute =
                    path.canonicalize().map_err(|source| SourceError::Read { name: name.clone(), source })?;
                let path = Path::from_absolute_path(absolute).map_err(|e| stored(e.into()))?;
                (Arc::new(LocalFileSystem::new()), path)
            }
            Place::Stdin => {
                let message = "an archive can't be read from standard input; name a file".to_owned();
                return Err(SourceError::BadInput { input: name, message });
            }
        };
        let size = match file.size {
            Some(size) => size,
            None => handle.block_on(store.head(&path)).map_err(stored)?.size,
        };
        let mut fetch = Fetch { store, path, size };
        let metadata =
            handle.block_on(ArrowReaderMetadata::load_async(&mut fetch, ArrowReaderOptions::new()));
        let metadata = metadata.map_err(|source| SourceError::Parquet { name: name.clone(), source })?;
        Ok(Self { name, fetch, metadata })
    }
}
