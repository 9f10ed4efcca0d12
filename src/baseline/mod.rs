//! Placeholder of the room `baseline`.
