//! Reads a Parquet file from an object store or the local file system.

use crate::source::error::SourceError;
use crate::source::input_file::{FileLocation, InputFile};
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

/// Bytes at the end of a file that are read first; they contain the metadata of most archives.
const FOOTER: usize = 64 << 10;

/// Reads ranges of one object.
#[derive(Debug, Clone)]
pub struct RangeReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for RangeReader {
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

/// An open archive file: its metadata is read, its rows are not.
#[derive(Debug, Clone)]
pub struct OpenArchive {
    /// Its name in messages.
    pub name: String,
    /// Reads its bytes.
    pub fetch: RangeReader,
    /// Its metadata.
    pub metadata: ArrowReaderMetadata,
}

impl OpenArchive {
    /// Reads a file's metadata.
    pub fn open(file: &InputFile, handle: &Handle) -> std::result::Result<Self, SourceError> {
        let name = file.name.clone();
        let stored = |source| SourceError::stored(&file.name, source);
        let (store, path): (Arc<dyn ObjectStore>, _) = match &file.place {
            FileLocation::Object { store, path } => (Arc::clone(store), path.clone()),
            FileLocation::Local(path) => {
                // An object store's path has no `..` and follows no links.
                let absolute =
                    path.canonicalize().map_err(|source| SourceError::Read { name: name.clone(), source })?;
                let path = Path::from_absolute_path(absolute).map_err(|e| stored(e.into()))?;
                (Arc::new(LocalFileSystem::new()), path)
            }
            FileLocation::Stdin => {
                let message = "an archive can't be read from standard input; name a file".to_owned();
                return Err(SourceError::BadInput { input: name, message });
            }
        };
        let size = match file.size {
            Some(size) => size,
            None => handle.block_on(store.head(&path)).map_err(stored)?.size,
        };
        let mut fetch = RangeReader { store, path, size };
        let metadata =
            handle.block_on(ArrowReaderMetadata::load_async(&mut fetch, ArrowReaderOptions::new()));
        let metadata = metadata.map_err(|source| SourceError::Parquet { name: name.clone(), source })?;
        Ok(Self { name, fetch, metadata })
    }
}
