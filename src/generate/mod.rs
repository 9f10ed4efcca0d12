//! Placeholder of the room `generate`.
