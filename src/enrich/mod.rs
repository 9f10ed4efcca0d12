//! Placeholder of the room `enrich`.
