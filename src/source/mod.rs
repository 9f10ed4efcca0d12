//! Placeholder of the room `source`.
