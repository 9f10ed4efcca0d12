//! Placeholder of the room `alert`.
