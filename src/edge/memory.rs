//! What an isolate remembers between requests: the settings, the site's index, and a few hot cache entries.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::app::known::Known;
use crate::base::time::Millis;
use crate::domain::answer::Index;
use crate::domain::llm::health::local::LocalView;
use crate::domain::settings::Settings;

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
    static TENANTS: RefCell<HashMap<String, Rc<Settings>>> = RefCell::new(HashMap::new());
    static INDEX: RefCell<Option<Rc<Index>>> = const { RefCell::new(None) };
    static KNOWN: RefCell<HashMap<String, Known>> = RefCell::new(HashMap::new());
    static VIEWS: RefCell<HashMap<String, LocalView>> = RefCell::new(HashMap::new());
    static ENTRIES: RefCell<Entries> = RefCell::new(Entries::default());
}

/// The settings, once they are resolved.
pub fn settings() -> Option<Rc<Settings>> {
    SETTINGS.with_borrow(Clone::clone)
}

/// Remembers the settings.
pub fn set_settings(settings: Rc<Settings>) {
    SETTINGS.with_borrow_mut(|slot| *slot = Some(settings));
}

/// The settings of a tenant whose operators stored providers' keys.
pub fn settings_of(tenant: &str) -> Option<Rc<Settings>> {
    TENANTS.with_borrow(|tenants| tenants.get(tenant).cloned())
}

/// Remembers them.
pub fn set_settings_of(tenant: &str, settings: Rc<Settings>) {
    TENANTS.with_borrow_mut(|tenants| tenants.insert(tenant.to_owned(), settings));
}

/// The site's index, once it is read.
pub fn index() -> Option<Rc<Index>> {
    INDEX.with_borrow(Clone::clone)
}

/// Remembers the site's index.
pub fn set_index(index: Rc<Index>) {
    INDEX.with_borrow_mut(|slot| *slot = Some(index));
}

/// What is remembered of a tenant. There are as many as tenants in the configuration.
pub fn known<T>(tenant: &str, step: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(|known| match known.get_mut(tenant) {
        Some(known) => step(known),
        None => step(known.entry(tenant.to_owned()).or_default()),
    })
}

/// The view of a target. There are as many as targets in the configuration.
pub fn view<T>(target: &str, step: impl FnOnce(&mut LocalView) -> T) -> T {
    VIEWS.with_borrow_mut(|views| match views.get_mut(target) {
        Some(view) => step(view),
        None => step(views.entry(target.to_owned()).or_default()),
    })
}

/// Bytes of all remembered entries together: 8 MiB of an isolate's 128 MB.
const MAX_BYTES: usize = 8_388_608;

#[derive(Default)]
struct Entries {
    by_key: HashMap<String, (Vec<u8>, Millis)>,
    oldest_first: VecDeque<String>,
    bytes: usize,
}

/// A remembered entry that has not expired.
pub fn entry(key: &str, now: Millis) -> Option<Vec<u8>> {
    ENTRIES.with_borrow(|entries| {
        let (value, expires) = entries.by_key.get(key)?;
        (now < *expires).then(|| value.clone())
    })
}

/// Remembers an entry; the oldest ones make room.
pub fn set_entry(key: &str, value: &[u8], expires: Millis, max_entries: usize) {
    if value.len() > MAX_BYTES || max_entries == 0 {
        return;
    }
    ENTRIES.with_borrow_mut(|entries| {
        entries.remove(key);
        entries.bytes = entries.bytes.saturating_add(value.len());
        entries
            .by_key
            .insert(key.to_owned(), (value.to_vec(), expires));
        entries.oldest_first.push_back(key.to_owned());
        while entries.by_key.len() > max_entries || entries.bytes > MAX_BYTES {
            let Some(oldest) = entries.oldest_first.front().cloned() else {
                break;
            };
            entries.remove(&oldest);
        }
    });
}

impl Entries {
    fn remove(&mut self, key: &str) {
        if let Some((value, _)) = self.by_key.remove(key) {
            self.bytes = self.bytes.saturating_sub(value.len());
            self.oldest_first.retain(|known| known != key);
        }
    }
}
