//! Placeholder of the room `drift`.
