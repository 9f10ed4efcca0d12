//! Keyed hashes of ids and names: what is stored of a session, a user, a request or a hidden name
//! is meaningless without the key.

/// Hashes ids under the configured key (BLAKE3, keyed, cut to 64 bits; each kind of id has its own
/// key).
#[derive(Debug, Clone)]
pub struct IdHasher {
    session: [u8; 32],
    user: [u8; 32],
    request: [u8; 32],
    name: [u8; 32],
    id: u64,
}

/// The key that is used where none is configured: hashes hide the ids, but anybody can compute
/// them.
pub const DEFAULT_KEY: &str = "driftglass: no key configured";

impl IdHasher {
    /// A hasher under a key of any length.
    #[must_use]
    pub fn new(key: &str) -> Self {
        let derive = |kind: &str| blake3::derive_key(&format!("driftglass 2026 {kind} ids"), key.as_bytes());
        Self {
            session: derive("session"),
            user: derive("user"),
            request: derive("request"),
            name: derive("name"),
            id: short_hash(&derive("key")),
        }
    }

    /// Names the key without telling it; goes into every sketch's id.
    #[must_use]
    pub fn key_id(&self) -> u64 {
        self.id
    }

    /// A session's hash.
    #[must_use]
    pub fn session(&self, id: &str) -> u64 {
        keyed(&self.session, id)
    }

    /// A user's hash.
    #[must_use]
    pub fn user(&self, id: &str) -> u64 {
        keyed(&self.user, id)
    }

    /// A request's hash.
    #[must_use]
    pub fn request(&self, id: &str) -> u64 {
        keyed(&self.request, id)
    }

    /// The hash of a name in its normal form ([`crate::event::text::normal`]), for where it is not
    /// written as text.
    #[must_use]
    pub fn name(&self, name: &str) -> u64 {
        keyed(&self.name, name)
    }
}

/// The first 64 bits of a hash without a key (BLAKE3), for what is not secret.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> u64 {
    cut(blake3::hash(bytes).as_bytes())
}

fn keyed(key: &[u8; 32], id: &str) -> u64 {
    cut(blake3::keyed_hash(key, id.as_bytes()).as_bytes())
}

fn cut(bytes: &[u8; 32]) -> u64 {
    let mut a = [0; 8];
    a.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_key_and_kind() {
        let (a, b) = (IdHasher::new("a"), IdHasher::new("b"));
        assert_eq!(a.session("x"), IdHasher::new("a").session("x"));
        assert_ne!(a.session("x"), b.session("x"));
        assert_ne!(a.session("x"), a.user("x"));
        assert_ne!(a.key_id(), b.key_id());
    }
}
