//! Placeholder of the room `sketch`.
