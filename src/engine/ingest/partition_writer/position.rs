//! Where a partition is read on, and in which log that is.

use super::Owned;
use crate::source::Offset;
use std::sync::Arc;

/// What tells the last record read: the id of its topic, where it is known, and a hash of its
/// value; 0 before the first.
pub type LastRead = (Option<Arc<str>>, u64);

impl Owned {
    /// Where to go on; `None` before the first record.
    #[must_use]
    pub fn position(&self) -> Option<Offset> {
        (self.chain.last_commit().is_some()).then_some(Offset(self.next_offset))
    }

    /// What tells the last record.
    #[must_use]
    pub fn last_read(&self) -> LastRead {
        (self.log.clone(), self.fingerprint)
    }

    /// What comes next is in the log of this id; where that is another one, it begins at `begins`.
    pub fn follow(&mut self, log: Option<Arc<str>>, begins: Option<Offset>) {
        if let Some(begins) = begins {
            self.next_offset = begins.0;
            self.fingerprint = 0;
            self.dirty = true;
        }
        self.log = log.or_else(|| self.log.take().filter(|_| begins.is_none()));
    }
}
