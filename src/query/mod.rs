//! Placeholder of the room `query`.
