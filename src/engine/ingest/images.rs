//! Vectors of a chunk's images: which images are sampled, and what was found of them.

use super::decoding::DecodedChunk;
use super::sampling::ImageSampler;
use crate::embed::{EmbedError, Embedder, NOT_RECORDED, VectorOrigin, VectorRequest};
use crate::engine::job::Job;
use crate::enrich::vectors::VectorPlan;
use crate::enrich::{Batch, ImageSource};
use crate::source::PartitionId;
use crate::store::vectors::VectorRow;
use std::sync::Arc;

/// What images of a partition are looked up with.
pub struct Images<'a> {
    pub job: &'a Job,
    pub plan: &'a VectorPlan,
    pub embedder: &'a Embedder,
    pub topic: &'a Arc<str>,
    pub partition: PartitionId,
}

impl Images<'_> {
    /// Finds the vectors of the images that are sampled and adds them to the batch; `None` when it
    /// was asked to stop.
    ///
    /// # Errors
    /// When the vectors are unavailable.
    pub fn resolve(
        &self,
        decoded: &mut DecodedChunk,
        sampler: &mut ImageSampler,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<VectorRow>>, EmbedError> {
        let plan = self.plan;
        let DecodedChunk { batch, offsets, .. } = decoded;
        let dimensions = self.job.plan.dimensions.len();
        let before = sampler.clone();
        let mut candidates = std::mem::take(&mut batch.candidates);
        candidates.retain(|c| match c.source {
            ImageSource::Recorded => true,
            _ => sampler.admits(batch, c.row as usize, dimensions, plan.per_minute),
        });
        let requests: Vec<VectorRequest<'_>> = candidates
            .iter()
            .map(|c| {
                let text = |r| &batch.addresses[Batch::range(r)];
                let origin = match &c.source {
                    ImageSource::Inline(r) => VectorOrigin::Inline(text(r)),
                    ImageSource::VectorFile(r) => VectorOrigin::VectorFile(text(r)),
                    ImageSource::Image(r) => VectorOrigin::Image(text(r)),
                    ImageSource::Recorded => VectorOrigin::Recorded,
                    ImageSource::Unreadable => VectorOrigin::Unreadable,
                };
                let row = &batch.rows[c.row as usize];
                VectorRequest { request: row.request, time: row.time_us, origin }
            })
            .collect();
        let Some(found) = self.embedder.resolve(&requests, stop)? else {
            // Not ingested, so not counted: it is read again.
            *sampler = before;
            return Ok(None);
        };
        let mut rows = Vec::with_capacity(candidates.len());
        for (c, found) in candidates.into_iter().zip(found) {
            let outcome = found.and_then(|v| {
                plan.place(&self.job.plan.features, batch, &c, &v).map_err(Arc::from).map(|()| v)
            });
            let row = &batch.rows[c.row as usize];
            if matches!(&outcome, Err(reason) if **reason == *NOT_RECORDED) {
                continue;
            }
            rows.push(VectorRow {
                time: row.time_us,
                topic: Arc::clone(self.topic),
                partition: self.partition.0,
                offset: offsets[c.row as usize],
                request: row.request,
                request_id: Arc::from(&batch.ids[Batch::range(&row.request_id)]),
                source: c.source.name(),
                model: Arc::clone(&plan.model),
                outcome,
            });
        }
        batch.addresses.clear();
        Ok(Some(rows))
    }
}
