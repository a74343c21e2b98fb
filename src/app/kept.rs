//! Kept answers, as the stories use them: the isolate's memory first, then KV; written after the last byte.

use super::gate::{Caller, may_write_cache};
use super::port::Port;
use super::request::Head;
use crate::base::time::Millis;
use crate::domain::cache::{CallerWish, Entry, Kept};
use crate::domain::settings::Settings;

/// Where the answer of one request is kept.
pub struct Slot {
    key: String,
    read: bool,
    ttl: Millis,
    max_bytes: u64,
}

impl Slot {
    /// The slot of that name, unless the caller wants nothing stored.
    #[must_use]
    pub fn new(settings: &Settings, head: &Head, key: impl FnOnce() -> String) -> Option<Self> {
        let wish = CallerWish::read(head.cache_control.as_deref());
        if wish == CallerWish::NoStore {
            return None;
        }
        Some(Self {
            key: key(),
            read: wish == CallerWish::Any,
            ttl: Millis::from_secs(settings.config.cache.ttl_seconds),
            max_bytes: settings.config.cache.max_entry_bytes,
        })
    }

    /// The entry, unless the caller wants a fresh answer. A store that fails is a miss.
    pub async fn look_up(&self, port: &impl Port) -> Option<Entry> {
        if !self.read {
            return None;
        }
        let now = port.now();
        if let Some(bytes) = port.memory_get(&self.key) {
            return Entry::read(&bytes, now);
        }
        let bytes = port.cache_get(&self.key).await.ok().flatten()?;
        let entry = Entry::read(&bytes, now)?;
        port.memory_put(&self.key, &bytes, entry.expires);
        Some(entry)
    }

    /// Keeps a whole, successful answer, unless it is too large or the client has written its share.
    pub async fn keep(&self, port: &impl Port, caller: &Caller, target: String, kept: Kept) {
        let entry = Entry::new(port.now(), self.ttl, target, kept);
        let Some(bytes) = entry.to_bytes(self.max_bytes) else {
            return;
        };
        if !may_write_cache(port, caller).await {
            return;
        }
        port.memory_put(&self.key, &bytes, entry.expires);
        // A cache that cannot be written costs the next caller time, nothing else.
        let _ = port.cache_put(&self.key, bytes, self.ttl.secs()).await;
    }
}

/// The word of `X-Cache` for an answer that was not kept before.
#[must_use]
pub const fn word(slot: Option<&Slot>) -> &'static str {
    if slot.is_some() { "miss" } else { "bypass" }
}
