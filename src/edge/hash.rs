//! SHA-256 by the platform: for long content it is several times faster than code in WebAssembly.

use worker::js_sys::Uint8Array;
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::JsFuture;

use super::glue;
use crate::app::port::{self, PortFault};
use crate::base::digest::Bytes32;

/// A hash that grows.
pub struct Hash(pub(super) JsValue);

impl Hash {
    /// Begins.
    pub fn new() -> Self {
        Self(glue::new_hash())
    }
}

impl port::Hash for Hash {
    async fn update(&self, bytes: Vec<u8>) -> Result<(), PortFault> {
        let more = glue::update_hash(&self.0, &Uint8Array::from(bytes.as_slice()));
        // The platform has its own copy.
        drop(bytes);
        let more = JsFuture::from(more).await;
        more.map(|_| ())
            .map_err(|error| PortFault(glue::message(&error)))
    }

    async fn finish(self) -> Result<Bytes32, PortFault> {
        let digest = JsFuture::from(glue::finish_hash(&self.0)).await;
        let digest = digest.map_err(|error| PortFault(glue::message(&error)))?;
        let digest = Uint8Array::new(&digest).to_vec().try_into();
        digest.map_err(|_| PortFault("a digest of another length".to_owned()))
    }
}
