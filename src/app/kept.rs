//! Kept answers, as the stories use them: the isolate's memory first, then KV; written after the last byte.

use super::gate::{Caller, may_write_cache};
use super::port::Port;
use super::request::Head;
use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::domain::cache::{CallerWish, Entry, Kept};
use crate::domain::settings::Settings;

/// Where the answer of one request is kept.
pub struct Slot {
    key: SlotKey,
    read: bool,
}

/// The same, for a call that runs in another place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlotKey {
    /// The entry's name.
    pub name: String,
    /// How long it is an answer.
    ttl: Millis,
    /// How long it is kept beyond that, for a day when no provider answers.
    stale: Millis,
    max_bytes: u64,
}

/// An answer that is too old to be given is kept for another day, where the alias allows that it is given when nothing
/// else can be: 86,400 s.
const STALE: Millis = Millis::from_secs(86_400);

impl Slot {
    /// The slot of that name, unless the caller wants nothing stored.
    #[must_use]
    pub fn new(
        settings: &Settings,
        head: &Head,
        stale: bool,
        name: impl FnOnce() -> String,
    ) -> Option<Self> {
        let wish = CallerWish::read(head.cache_control.as_deref());
        if wish == CallerWish::NoStore {
            return None;
        }
        Some(Self {
            key: SlotKey {
                name: name(),
                ttl: Millis::from_secs(settings.config.cache.ttl_seconds),
                stale: if stale { STALE } else { Millis(0) },
                max_bytes: settings.config.cache.max_entry_bytes,
            },
            read: wish == CallerWish::Any,
        })
    }

    /// The slot of a call that was planned elsewhere.
    #[must_use]
    pub const fn of(key: SlotKey, read: bool) -> Self {
        Self { key, read }
    }

    /// What another place needs to know.
    #[must_use]
    pub fn key(&self) -> SlotKey {
        self.key.clone()
    }

    /// May an answer be read from here?
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.read
    }

    /// The entry, unless the caller wants a fresh answer. A store that fails is a miss.
    pub async fn look_up(&self, port: &impl Port) -> Option<Entry> {
        if !self.read {
            return None;
        }
        let now = port.now();
        if let Some(bytes) = port.memory_get(&self.key.name) {
            return Entry::read(&bytes, now);
        }
        let bytes = port.cache_get(&self.key.name).await.ok().flatten()?;
        let entry = Entry::read(&bytes, now)?;
        port.memory_put(&self.key.name, &bytes, entry.expires);
        Some(entry)
    }

    /// The entry, however old it is.
    pub async fn look_up_stale(&self, port: &impl Port) -> Option<Entry> {
        let bytes = port.cache_get(&self.key.name).await.ok().flatten()?;
        Entry::read_stale(&bytes)
    }

    /// Keeps a whole, successful answer, unless it is too large or the client has written its share.
    pub async fn keep(&self, port: &impl Port, caller: &Caller, target: String, kept: Kept) {
        let entry = Entry::new(port.now(), self.key.ttl, target, kept);
        let Some(bytes) = entry.to_bytes(self.key.max_bytes) else {
            return;
        };
        if !may_write_cache(port, caller).await {
            return;
        }
        port.memory_put(&self.key.name, &bytes, entry.expires);
        // A cache that cannot be written costs the next caller time, nothing else.
        let kept = self.key.ttl.plus(self.key.stale).secs();
        let _ = port.cache_put(&self.key.name, bytes, kept).await;
    }
}

/// The word of `X-Cache` for an answer that was not kept before.
#[must_use]
pub const fn word(slot: Option<&Slot>) -> &'static str {
    if slot.is_some() { "miss" } else { "bypass" }
}
