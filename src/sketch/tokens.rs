//! Prompt tokens: full counts, the users behind each token, and the session-wise presence in fixed bins.

use super::codec::{DecodeError, Reader, Writer};
use super::common_tokens::COMMON_TOKENS;
use super::distinct::Distinct;
use super::session::{BucketSums, SESSION_BUCKETS};
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Bins of the session-wise test: the 256 most common tokens each have one, all others share 64 by hash.
pub const TOKEN_BINS: usize = 320;
/// Bins of common tokens.
pub const COMMON_BINS: usize = 256;

/// The fixed bin of a token; no baseline changes it.
#[must_use]
pub fn token_bin(token: u32) -> u16 {
    static BINS: OnceLock<FxHashMap<u32, u16>> = OnceLock::new();
    let bins =
        BINS.get_or_init(|| COMMON_TOKENS.iter().zip(0u16..).map(|(&t, i)| (u32::from(t), i)).collect());
    bins.get(&token).copied().unwrap_or_else(|| {
        // Fibonacci hashing: the high bits of a product with 2³²/φ.
        COMMON_BINS as u16 + (token.wrapping_mul(0x9e37_79b9) >> 26) as u16
    })
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

/// The sketch of a token feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSketch {
    tokens: FxHashMap<u32, TokenCount>,
    /// Events per (bin, session bucket) that hold a token of the bin; key bin·32 + bucket.
    presence: FxHashMap<u16, u64>,
    /// Events per session bucket; the sums are the tokens of these events.
    events: BucketSums,
    sessions: Distinct,
}

impl TokenSketch {
    /// Counts one event's tokens.
    pub fn add(&mut self, tokens: &[u16], bucket: u8, session: u64, user: Option<u64>) {
        // A user that the event does not name adds no bit: unknown users never make a token look common.
        let user = user.map_or(0, |u| 1u64 << (u & 63));
        let mut seen = [0u64; TOKEN_BINS / 64];
        for &t in tokens {
            let t = u32::from(t);
            let c = self.tokens.entry(t).or_default();
            c.count += 1;
            c.users |= user;
            let bin = token_bin(t);
            let (word, bit) = (bin as usize / 64, 1u64 << (bin % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                *self.presence.entry(bin * SESSION_BUCKETS as u16 + u16::from(bucket)).or_default() += 1;
            }
        }
        self.events.add(bucket, 1, tokens.len() as i128);
        self.sessions.add(session);
    }

    /// Adds another's counts and unites the users and sessions.
    pub fn merge(&mut self, other: &Self) {
        for (&t, o) in &other.tokens {
            let c = self.tokens.entry(t).or_default();
            c.count += o.count;
            c.users |= o.users;
        }
        for (&k, &n) in &other.presence {
            *self.presence.entry(k).or_default() += n;
        }
        self.events.merge(&other.events);
        self.sessions.merge(&other.sessions);
    }

    /// Takes off the sums that were once added; users and sessions stay as they are.
    pub fn subtract(&mut self, other: &Self) {
        for (t, o) in &other.tokens {
            if let Some(c) = self.tokens.get_mut(t) {
                c.count = c.count.saturating_sub(o.count);
            }
        }
        self.tokens.retain(|_, c| c.count > 0);
        for (k, n) in &other.presence {
            if let Some(c) = self.presence.get_mut(k) {
                *c = c.saturating_sub(*n);
            }
        }
        self.presence.retain(|_, n| *n > 0);
        self.events.subtract(&other.events);
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
        self.tokens.get(&token).copied().unwrap_or_default()
    }

    /// All tokens, in no order.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, TokenCount)> + '_ {
        self.tokens.iter().map(|(&t, &c)| (t, c))
    }

    /// Bin, session bucket and events of every cell in use, in no order.
    pub fn presence(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        self.presence.iter().map(|(&k, &n)| (k as usize / SESSION_BUCKETS, k as usize % SESSION_BUCKETS, n))
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
        let mut tokens: Vec<_> = self.tokens().collect();
        tokens.sort_unstable_by_key(|t| t.0);
        w.uint(tokens.len() as u64);
        let mut last = 0;
        for (t, c) in tokens {
            w.uint(u64::from(t - last));
            last = t;
            w.uint(c.count);
            w.hash(c.users);
        }
        let mut cells: Vec<_> = self.presence.iter().map(|(&k, &n)| (k, n)).collect();
        cells.sort_unstable();
        w.uint(cells.len() as u64);
        let mut last = 0;
        for (k, n) in cells {
            w.uint(u64::from(k - last));
            last = k;
            w.uint(n);
        }
        self.events.write(w);
        self.sessions.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        let n = r.length()?;
        let mut last = 0u32;
        for i in 0..n {
            let step = r.uint()?;
            let next = u32::try_from(step).ok().and_then(|s| last.checked_add(s));
            let Some(t) = next.filter(|_| i == 0 || step > 0) else { return r.impossible("token") };
            last = t;
            out.tokens.insert(t, TokenCount { count: r.uint()?, users: r.hash()? });
        }
        let n = r.length()?;
        let mut last = 0u16;
        for i in 0..n {
            let step = r.uint()?;
            let next = u16::try_from(step).ok().and_then(|s| last.checked_add(s));
            let Some(k) =
                next.filter(|&k| (i == 0 || step > 0) && (k as usize) < TOKEN_BINS * SESSION_BUCKETS)
            else {
                return r.impossible("presence cell");
            };
            last = k;
            out.presence.insert(k, r.uint()?);
        }
        out.events = BucketSums::read(r)?;
        out.sessions = Distinct::read(r)?;
        Ok(out)
    }
}
