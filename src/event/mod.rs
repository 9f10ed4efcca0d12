//! Placeholder of the room `event`.
