//! Prompt tokens: full counts, the users behind each token, and the session-wise presence in fixed bins.

use super::codec::{DecodeError, Reader, Writer};
use super::columns::Columns;
use super::common_tokens::COMMON_TOKENS;
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};
use std::sync::OnceLock;

/// Bins of the session-wise test: the 256 most common tokens each have one, all others share 64 by hash.
pub const TOKEN_BINS: usize = 320;
/// Tokens of one event above which they are sorted before they are counted.
const MANY_TOKENS: usize = 1_000;
/// Bins of common tokens.
pub const COMMON_BINS: usize = 256;

/// The fixed bin of a token; no baseline changes it.
#[must_use]
pub fn token_bin(token: u32) -> u16 {
    static COMMON: OnceLock<Vec<u16>> = OnceLock::new();
    let common = COMMON.get_or_init(|| {
        let mut bins = vec![u16::MAX; COMMON_TOKENS.iter().max().map_or(0, |t| usize::from(*t) + 1)];
        COMMON_TOKENS.iter().zip(0u16..).for_each(|(&t, bin)| bins[usize::from(t)] = bin);
        bins
    });
    match common.get(token as usize) {
        Some(&bin) if bin != u16::MAX => bin,
        // Fibonacci hashing: the high bits of a product with 2³²/φ.
        _ => COMMON_BINS as u16 + (token.wrapping_mul(0x9e37_79b9) >> 26) as u16,
    }
}

/// What is kept of a token: how often it came and a bitmap of the users' hashes modulo 64. The bits set are never more than
/// the distinct users, so k-anonymity decided on them errs on the safe side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Occurrences.
    pub count: u64,
    /// Bit `hash(user) mod 64` of every user who used it.
    pub users: u64,
}

type TokenCounts = Columns<[u32; 4], [TokenCount; 1]>;

/// The sketch of a token feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSketch {
    tokens: TokenCounts,
    /// Events per (bin, session bucket) that hold a token of the bin; key bin·32 + bucket.
    presence: Columns<[u16; 8], [u64; 2]>,
    /// Events per session bucket; the sums are the tokens of these events.
    events: BucketSums,
    sessions: Distinct,
}

impl TokenSketch {
    /// Counts one event's tokens.
    pub fn add(&mut self, tokens: &[u16], bucket: u8, session: u64, user: Option<u64>) {
        // A user that the event does not name adds no bit: unknown users never make a token look common.
        let users = user.map_or(0, |u| 1u64 << (u & 63));
        let mut seen = [0u64; TOKEN_BINS / 64];
        if tokens.len() > MANY_TOKENS {
            self.count_many(tokens, users);
        }
        for &t in tokens {
            let t = u32::from(t);
            if tokens.len() <= MANY_TOKENS {
                let c = self.tokens.at(t);
                c.count += 1;
                c.users |= users;
            }
            let bin = token_bin(t);
            let (word, bit) = (bin as usize / 64, 1u64 << (bin % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                let cell = bin * SESSION_BUCKETS as u16 + u16::from(bucket);
                *self.presence.at(cell) += 1;
            }
        }
        self.events.add(bucket, 1, tokens.len() as i128);
        self.sessions.add(session);
    }

    /// Counts the tokens of a very long prompt in one go: one at a time each new one would move all behind it.
    fn count_many(&mut self, tokens: &[u16], users: u64) {
        let mut sorted = tokens.to_vec();
        sorted.sort_unstable();
        let mut counts = TokenCounts::default();
        for same in sorted.chunk_by(|a, b| a == b) {
            let above = counts.push(u32::from(same[0]), TokenCount { count: same.len() as u64, users });
            debug_assert!(above, "sorted above");
        }
        self.merge_counts(&counts);
    }

    fn merge_counts(&mut self, counts: &TokenCounts) {
        self.tokens.merge(counts, |c, o| {
            c.count = c.count.saturating_add(o.count);
            c.users |= o.users;
        });
    }

    /// Adds another's counts and unites the users and sessions.
    pub fn merge(&mut self, other: &Self) {
        self.merge_counts(&other.tokens);
        self.presence.merge(&other.presence, |n, o| *n = n.saturating_add(*o));
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off what was once added; users and sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        self.tokens.subtract(&other.tokens, |c, o| {
            c.count = c.count.saturating_sub(o.count);
            c.count > 0
        });
        self.presence.subtract(&other.presence, |n, o| {
            *n = n.saturating_sub(*o);
            *n > 0
        });
        self.events.subtract(&other.events);
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.tokens.memory_bytes()
            + self.presence.memory_bytes()
            + self.events.memory_bytes()
            + self.sessions.memory_bytes()
    }

    /// Events counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.events.n()
    }

    /// Tokens counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64::try_from(self.events.sum()).unwrap_or(u64::MAX)
    }

    /// What is kept of one token.
    #[must_use]
    pub fn token(&self, token: u32) -> TokenCount {
        self.tokens.get(token).unwrap_or_default()
    }

    /// All tokens, ascending.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, TokenCount)> + '_ {
        self.tokens.iter()
    }

    /// Bin, session bucket and events of every cell in use, ascending.
    pub fn presence(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        self.presence.iter().map(|(k, n)| (k as usize / SESSION_BUCKETS, k as usize % SESSION_BUCKETS, n))
    }

    /// Events per session bucket.
    #[must_use]
    pub fn events(&self) -> &BucketSums {
        &self.events
    }

    /// Distinct sessions.
    #[must_use]
    pub fn sessions(&self) -> &Distinct {
        &self.sessions
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.uint(self.tokens.len() as u64);
        let mut last = 0;
        for (t, c) in self.tokens.iter() {
            w.uint(u64::from(t - last));
            last = t;
            w.uint(c.count);
            w.hash(c.users);
        }
        w.uint(self.presence.len() as u64);
        let mut last = 0;
        for (k, n) in self.presence.iter() {
            w.uint(u64::from(k - last));
            last = k;
            w.uint(n);
        }
        self.events.write(w);
        self.sessions.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // Never more than there are bytes left.
        let n = r.length()?;
        let mut tokens = TokenCounts::with_capacity(n);
        let mut last = 0u32;
        for _ in 0..n {
            let next = u32::try_from(r.uint()?).ok().and_then(|step| last.checked_add(step));
            let Some(t) = next else { return r.impossible("token") };
            last = t;
            if !tokens.push(t, TokenCount { count: r.uint()?, users: r.hash()? }) {
                return r.impossible("token");
            }
        }
        let n = r.length()?;
        let mut presence = Columns::with_capacity(n);
        let mut last = 0u16;
        for _ in 0..n {
            let next = u16::try_from(r.uint()?).ok().and_then(|step| last.checked_add(step));
            let Some(k) = next.filter(|&k| (k as usize) < TOKEN_BINS * SESSION_BUCKETS) else {
                return r.impossible("presence cell");
            };
            last = k;
            if !presence.push(k, r.uint()?) {
                return r.impossible("presence cell");
            }
        }
        let (events, sessions) = (BucketSums::read(r)?, Distinct::read(r)?);
        Ok(Self { tokens, presence, events, sessions })
    }
}
