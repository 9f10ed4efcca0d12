//! Placeholder of the room `window`.
