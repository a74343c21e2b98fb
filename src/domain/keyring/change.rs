//! The changes that the commands make. They work on a copy, which a refusal throws away.

use super::command::{
    Command, MAX_HELD, MAX_NAME, MAX_PROVIDER_TEXT, MAX_PROVIDERS, MAX_SESSION_KEYS,
    MAX_TOMBSTONES, MAX_WRAPPED_TEXT, NewKey, PROPAGATION, Refusal, Reply,
};
use super::ring::{DataKey, Item, Provider, Purpose, Ring, Version, Wrap};
use super::state::{Event, KeyState};
use crate::base::time::Millis;

type Outcome = Result<(), Refusal>;

/// Makes the change that a command asks for.
pub(super) fn change(ring: &mut Ring, now: Millis, command: Command) -> Result<(), Reply> {
    if let Command::Activate { n } = command
        && let Some(rest) = still_spreading(ring, now, n)
    {
        return Err(Reply::Wait(rest));
    }
    match command {
        Command::Load { .. } => Ok(()),
        Command::Init { wrap, keys } => init(ring, now, wrap, keys),
        Command::Begin { n, wrap } => begin(ring, now, n, wrap),
        Command::Activate { n } => activate(ring, now, n),
        Command::Emergency { n, wrap } => emergency(ring, now, n, wrap),
        Command::Rewrapped {
            item,
            from,
            version,
            to,
        } => rewrapped(ring, &item, &from, version, to),
        Command::RewrappedVersion { n, from, to } => rewrapped_version(ring, n, &from, to),
        Command::Retire { n } => retire(ring, now, n),
        Command::Restore { n } => restore(ring, now, n),
        Command::Destroy { n } => destroy(ring, now, n),
        Command::RaiseFloor { to } => raise_floor(ring, to),
        Command::RotateSession {
            key,
            version,
            overlap,
        } => rotate_session(ring, now, key, version, overlap),
        Command::PutProvider {
            name,
            version,
            text,
            by,
        } => put_provider(
            ring,
            Provider {
                name,
                version,
                text,
                by,
                at: now,
            },
        ),
        Command::RemoveProvider { name } => {
            ring.providers.retain(|provider| provider.name != name);
            Ok(())
        }
    }
    .map_err(Reply::Refused)
}

fn init(ring: &mut Ring, now: Millis, wrap: Wrap, keys: Vec<NewKey>) -> Outcome {
    let whole = Purpose::ALL
        .into_iter()
        .all(|purpose| keys.iter().any(|key| key.purpose == purpose));
    if !whole || keys.len() > MAX_SESSION_KEYS || !keys.iter().all(is_key) || !is_wrap(&wrap) {
        return Err(Refusal::Invalid);
    }
    let state = KeyState::Active;
    ring.versions.push(Version {
        n: 1,
        state,
        wrap,
        created: now,
        activated: Some(now),
        since: now,
    });
    ring.data
        .extend(keys.into_iter().map(|key| data_key(key, 1, now, now)));
    ring.floor = 1;
    Ok(())
}

fn begin(ring: &mut Ring, now: Millis, n: u32, wrap: Wrap) -> Outcome {
    if let Some(version) = ring.version(n) {
        return if version.wrap == wrap {
            Ok(())
        } else {
            Err(Refusal::Taken)
        };
    }
    if let Some(pending) = ring.pending() {
        return Err(Refusal::Pending(pending.n));
    }
    add_version(ring, now, n, wrap)
}

fn add_version(ring: &mut Ring, now: Millis, n: u32, wrap: Wrap) -> Outcome {
    if n != ring.next() {
        return Err(Refusal::NotNext(ring.next()));
    }
    if !is_wrap(&wrap) {
        return Err(Refusal::Invalid);
    }
    if ring
        .versions
        .iter()
        .filter(|v| v.state != KeyState::Destroyed)
        .count()
        >= MAX_HELD
    {
        return Err(Refusal::Full);
    }
    let state = KeyState::Pending;
    ring.versions.push(Version {
        n,
        state,
        wrap,
        created: now,
        activated: None,
        since: now,
    });
    Ok(())
}

/// The time that a pending version still has to be only known.
fn still_spreading(ring: &Ring, now: Millis, n: u32) -> Option<Millis> {
    let version = ring.pending().filter(|version| version.n == n)?;
    let known = now.since(version.since);
    (known < PROPAGATION).then(|| PROPAGATION.since(known))
}

fn activate(ring: &mut Ring, now: Millis, n: u32) -> Outcome {
    let version = find(ring, n)?;
    if version.state == KeyState::Active {
        return Ok(());
    }
    step(version, now, Event::Activate)?;
    let others = ring.versions.iter_mut().filter(|version| version.n != n);
    for version in others.filter(|version| version.state == KeyState::Active) {
        step(version, now, Event::Supersede)?;
    }
    Ok(())
}

fn emergency(ring: &mut Ring, now: Millis, n: u32, wrap: Wrap) -> Outcome {
    match ring.version(n) {
        Some(version) if version.wrap != wrap => return Err(Refusal::Taken),
        // A repeat: it was activated then, whatever followed.
        Some(version) if version.activated.is_some() => return Ok(()),
        Some(_) => {}
        None => {
            for version in ring
                .versions
                .iter_mut()
                .filter(|v| v.state == KeyState::Pending)
            {
                step(version, now, Event::Retire)?;
            }
            add_version(ring, now, n, wrap)?;
        }
    }
    activate(ring, now, n)?;
    ring.raise_to = n;
    Ok(())
}

fn rewrapped(ring: &mut Ring, item: &Item, from: &str, version: u32, to: String) -> Outcome {
    let active = ring.active().map(|active| active.n);
    let (text, under) = match item {
        Item::Version(_) => return Err(Refusal::Invalid),
        Item::Data(id) => {
            let key = ring.data.iter_mut().find(|key| key.id == *id);
            key.map(|key| (&mut key.text, &mut key.version))
        }
        Item::Provider(name) => {
            let key = ring.providers.iter_mut().find(|key| key.name == *name);
            key.map(|key| (&mut key.text, &mut key.version))
        }
    }
    .ok_or(Refusal::Unknown)?;
    if *text == to && *under == version {
        return Ok(());
    }
    if *text != from || active != Some(version) {
        return Err(Refusal::Stale);
    }
    is_text(&to, MAX_PROVIDER_TEXT)?;
    (*text, *under) = (to, version);
    Ok(())
}

fn rewrapped_version(ring: &mut Ring, n: u32, from: &str, to: Wrap) -> Outcome {
    let version = find(ring, n)?;
    if version.state == KeyState::Destroyed {
        return Err(Refusal::Destroyed);
    }
    if version.wrap == to {
        return Ok(());
    }
    if version.wrap.text != from {
        return Err(Refusal::Stale);
    }
    if !is_wrap(&to) {
        return Err(Refusal::Invalid);
    }
    version.wrap = to;
    Ok(())
}

fn retire(ring: &mut Ring, now: Millis, n: u32) -> Outcome {
    unused(ring, |version| version == n)?;
    let version = find(ring, n)?;
    if version.state == KeyState::Retired {
        return Ok(());
    }
    step(version, now, Event::Retire)
}

fn restore(ring: &mut Ring, now: Millis, n: u32) -> Outcome {
    if n < ring.floor {
        return Err(Refusal::Floor(ring.floor));
    }
    let version = find(ring, n)?;
    if version.state == KeyState::DecryptOnly {
        return Ok(());
    }
    step(version, now, Event::Restore)
}

fn destroy(ring: &mut Ring, now: Millis, n: u32) -> Outcome {
    unused(ring, |version| version == n)?;
    match find(ring, n) {
        Ok(version) if version.state != KeyState::Destroyed => step(version, now, Event::Destroy),
        Ok(_) | Err(Refusal::Destroyed) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn raise_floor(ring: &mut Ring, to: u32) -> Outcome {
    let active = ring.active().map_or(0, |active| active.n);
    if to < ring.floor {
        return Err(Refusal::Floor(ring.floor));
    }
    if to > active {
        return Err(Refusal::Floor(active));
    }
    unused(ring, |version| version < to)?;
    ring.floor = to;
    Ok(())
}

fn rotate_session(
    ring: &mut Ring,
    now: Millis,
    key: NewKey,
    version: u32,
    overlap: Millis,
) -> Outcome {
    if let Some(present) = ring.data.iter().find(|present| present.id == key.id) {
        let same = present.text == key.text && present.purpose == key.purpose;
        return if same { Ok(()) } else { Err(Refusal::Taken) };
    }
    if key.purpose != Purpose::Session || !is_key(&key) {
        return Err(Refusal::Invalid);
    }
    if ring.active().map(|active| active.n) != Some(version) {
        return Err(Refusal::Stale);
    }
    if overlap == Millis::ZERO {
        ring.data.retain(|key| key.purpose != Purpose::Session);
        ring.data.push(data_key(key, version, now, now));
        return Ok(());
    }
    let sessions = ring
        .data
        .iter()
        .filter(|key| key.purpose == Purpose::Session);
    if sessions.count() >= MAX_SESSION_KEYS {
        return Err(Refusal::Full);
    }
    // Later than every predecessor's, too, should the clock have gone back: the newest key is the last to sign.
    let latest = ring.data.iter().map(|key| key.from).max().unwrap_or(now);
    let from = latest.max(now).plus(PROPAGATION);
    let until = from.plus(overlap);
    for key in ring
        .data
        .iter_mut()
        .filter(|key| key.purpose == Purpose::Session)
    {
        key.until = Some(key.until.map_or(until, |earlier| earlier.min(until)));
    }
    ring.data.push(data_key(key, version, now, from));
    Ok(())
}

fn put_provider(ring: &mut Ring, new: Provider) -> Outcome {
    is_text(&new.name, MAX_NAME)?;
    is_text(&new.by, MAX_NAME)?;
    is_text(&new.text, MAX_PROVIDER_TEXT)?;
    let active = ring.active().map(|active| active.n);
    let full = ring.providers.len() >= MAX_PROVIDERS;
    let present = ring
        .providers
        .iter_mut()
        .find(|provider| provider.name == new.name);
    match present {
        Some(present) if present.text == new.text => Ok(()),
        _ if active != Some(new.version) => Err(Refusal::Stale),
        Some(present) => {
            *present = new;
            Ok(())
        }
        None if full => Err(Refusal::Full),
        None => {
            ring.providers.push(new);
            Ok(())
        }
    }
}

// === what the changes share ===

/// What follows by itself: an emergency's floor, versions below the floor, session keys that have run out.
pub(super) fn tidy(ring: &mut Ring, now: Millis) {
    let raise_to = ring.raise_to;
    if raise_to > ring.floor && ring.wrapped_under(|n| n < raise_to) == 0 {
        ring.floor = raise_to;
    }
    let floor = ring.floor;
    for version in ring.versions.iter_mut().filter(|version| version.n < floor) {
        version.step(now, Event::Retire);
    }
    ring.data
        .retain(|key| key.until.is_none_or(|until| until > now));
    let destroyed = |version: &Version| version.state == KeyState::Destroyed;
    let mut surplus = ring
        .versions
        .iter()
        .filter(|v| destroyed(v))
        .count()
        .saturating_sub(MAX_TOMBSTONES);
    ring.versions.retain(|version| {
        let drop = surplus > 0 && destroyed(version);
        surplus = surplus.saturating_sub(usize::from(drop));
        !drop
    });
}

fn find(ring: &mut Ring, n: u32) -> Result<&mut Version, Refusal> {
    let next = ring.next();
    let forgotten = if (1..next).contains(&n) {
        Refusal::Destroyed
    } else {
        Refusal::Unknown
    };
    ring.versions
        .iter_mut()
        .find(|version| version.n == n)
        .ok_or(forgotten)
}

fn step(version: &mut Version, now: Millis, event: Event) -> Outcome {
    let state = version.state;
    if version.step(now, event) {
        Ok(())
    } else {
        Err(Refusal::State(state))
    }
}

fn unused(ring: &Ring, fits: impl Fn(u32) -> bool) -> Outcome {
    match ring.wrapped_under(fits) {
        0 => Ok(()),
        count => Err(Refusal::InUse(u32::try_from(count).unwrap_or(u32::MAX))),
    }
}

fn is_text(text: &str, most: usize) -> Outcome {
    if text.is_empty() || text.len() > most {
        Err(Refusal::Invalid)
    } else {
        Ok(())
    }
}

fn is_wrap(wrap: &Wrap) -> bool {
    is_text(&wrap.by, MAX_NAME).is_ok() && is_text(&wrap.text, MAX_WRAPPED_TEXT).is_ok()
}

fn is_key(key: &NewKey) -> bool {
    is_text(&key.id, MAX_NAME).is_ok() && is_text(&key.text, MAX_WRAPPED_TEXT).is_ok()
}

fn data_key(key: NewKey, version: u32, created: Millis, from: Millis) -> DataKey {
    let NewKey { purpose, id, text } = key;
    DataKey {
        purpose,
        id,
        version,
        text,
        created,
        from,
        until: None,
    }
}

/// When the next session key runs out.
pub(super) fn next_expiry(ring: &Ring) -> Option<Millis> {
    ring.data.iter().filter_map(|key| key.until).min()
}
