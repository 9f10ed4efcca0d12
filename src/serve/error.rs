//! The error of this room.

use thiserror::Error;

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is invalid or in use.
    #[error(
        "can't listen on serve.listen = {address:?}: {source}; use a free address such as \
         \"127.0.0.1:9464\""
    )]
    Listen {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}
