//! API keys.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::sign_in::{env, hash_of_new};
use super::{Context, Told};
use crate::app::accounts;
use crate::app::audit::{drain_of, short};
use crate::app::keyring::keyring;
use crate::app::objects::{KEYS, ask, key_object, told};
use crate::app::port::{Class, Port, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::api_key::{self, Kind, is_id};
use crate::domain::identity::key_record::{
    Command, Entry, IndexCommand, IndexReply, KeyIndex, KeyRecord, KeySettings, MAX_PREVIOUS,
    Names, NewRecord, PublicKey, Reply, Scopes, Stores, View,
};
use crate::domain::llm::request::{invalid, missing};
use crate::domain::settings::config::Allowance;

/// Keys of one page.
const PAGE: usize = 100;
/// How long the old secret of a rotated key stays good, unless said otherwise: 24 h × 3600 s.
const OVERLAP_SECONDS: u64 = 86_400;
/// How long a change that was announced to the list may take to arrive: 10 min × 60 s, far longer than a request runs.
const IN_FLIGHT: Millis = Millis::from_secs(600);

/// Lists keys: `?after=<cursor>`.
///
/// # Errors
/// `storage_unavailable`
pub async fn list<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let after = cx
        .head
        .query_value("after")
        .filter(|after| !after.is_empty());
    let (entries, next) = page(cx, after).await?;
    let keys: Vec<Value> = entries
        .iter()
        .map(|entry| {
            json!({
                "id": entry.id,
                "name": entry.name,
                "created_at": entry.created.rfc3339(),
                "created_by": entry.created_by,
                "revoked_at": entry.revoked.map(Millis::rfc3339),
            })
        })
        .collect();
    Ok(Told::Json(json!({"keys": keys, "next": next})))
}

/// A page of the list.
///
/// # Errors
/// `storage_unavailable`
pub async fn page<P: Port>(
    cx: &Context<'_, P>,
    after: Option<String>,
) -> Result<(Vec<Entry>, Option<String>), Refusal> {
    let command = IndexCommand::Page { after, limit: PAGE };
    let reply = ask::<KeyIndex>(cx.port, Class::Directory, KEYS, command)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    match reply {
        IndexReply::Page { entries, next } => Ok((entries, next)),
        _ => Err(Refusal::new(Code::StorageUnavailable)),
    }
}

/// Creates a key. Its text is in this answer and nowhere else.
///
/// # Errors
/// `invalid_parameter` naming the field.
pub async fn create<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let settings = settings(cx, None)?;
    let ring = keyring(cx.port).await?;
    let environment = env(cx.port.settings().environment);
    let key = api_key::make(Kind::Api, environment, &cx.port.random());
    let record = NewRecord {
        id: key.id.clone(),
        tenant: cx.port.tenant().to_owned(),
        created_by: cx.operator().to_owned(),
        hash: hash_of_new(&ring, key.text.reveal())?,
        settings,
    };
    // Listed before it works: a key that nobody can find cannot be revoked.
    let listed = Entry {
        id: key.id.clone(),
        name: record.settings.name.clone(),
        created: cx.port.now(),
        created_by: cx.operator().to_owned(),
        revoked: None,
        waits: None,
    };
    match put(cx, listed).await? {
        IndexReply::Noted => {}
        _ => {
            return Err(Refusal::new(Code::Conflict)
                .detail("There are as many keys as there may be; revoked ones can be forgotten."));
        }
    }
    let plain = Value::Object(plain(&record.settings));
    let event = cx
        .event(Deed::KeyCreate)
        .target("key")
        .about(&key.id)
        .detail("new", &short(&plain));
    let view = changed(cx, &key.id, Command::Create(Box::new(record)), event).await?;
    let mut told = shown(&view);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("key".to_owned(), Value::from(key.text.reveal().as_str()));
        fields.insert(
            "next".to_owned(),
            Value::from("Keep the key now; it is not shown again."),
        );
    }
    Ok(Told::Created(told))
}

/// One key, with what it used.
///
/// # Errors
/// `not_found`
pub async fn get<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let view = look(cx, &cx.id).await?;
    let mut told = shown(&view);
    let used = accounts::look(cx.port, &key_object(&view.id)).await?;
    if let Some(fields) = told.as_object_mut() {
        fields.insert("used".to_owned(), used);
    }
    Ok(Told::Json(told))
}

/// Changes a key's settings; what is left out stays.
///
/// # Errors
/// `not_found`, `conflict`, `invalid_parameter`.
pub async fn change<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let view = look(cx, &cx.id).await?;
    let expected = match cx.fields.get("version") {
        None => view.version,
        Some(version) => version
            .as_u64()
            .and_then(|version| u32::try_from(version).ok())
            .ok_or_else(|| {
                invalid(
                    "version",
                    "must be the version that the change is made from",
                )
            })?,
    };
    let settings = settings(cx, Some(&view.settings))?;
    let (mut old, mut new) = (plain(&view.settings), plain(&settings));
    old.retain(|name, value| {
        let same = new.get(name) == Some(value);
        if same {
            new.remove(name);
        }
        !same
    });
    put(cx, entry_of(&view)).await?;
    let command = Command::Change {
        version: expected,
        settings: Box::new(settings),
    };
    let event = cx
        .event(Deed::KeyChange)
        .target("key")
        .about(&view.id)
        .detail("fields", &names_of(&cx.fields))
        .detail("old", &short(&Value::Object(old)))
        .detail("new", &short(&Value::Object(new)));
    let view = changed(cx, &view.id, command, event).await?;
    put(cx, entry_of(&view)).await?;
    Ok(Told::Json(shown(&view)))
}

/// Gives a key a new secret: `{overlap_seconds}`.
///
/// # Errors
/// `not_found`, `conflict`.
pub async fn rotate<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let view = look(cx, &cx.id).await?;
    let overlap = match cx.fields.get("overlap_seconds") {
        None => OVERLAP_SECONDS,
        Some(seconds) => seconds
            .as_u64()
            .filter(|seconds| *seconds <= 2_592_000)
            .ok_or_else(|| {
                invalid(
                    "overlap_seconds",
                    "must lie between 0 and 2592000 (30 days)",
                )
            })?,
    };
    put(cx, entry_of(&view)).await?;
    let ring = keyring(cx.port).await?;
    let environment = env(cx.port.settings().environment);
    let key = api_key::make_for(Kind::Api, environment, &view.id, &cx.port.random());
    let command = Command::Rotate {
        hash: hash_of_new(&ring, key.reveal())?,
        overlap: Millis::from_secs(overlap),
    };
    let event = cx
        .event(Deed::KeyRotate)
        .target("key")
        .about(&view.id)
        .detail("overlap_seconds", &overlap.to_string());
    let view = changed(cx, &view.id, command, event).await?;
    let mut told = shown(&view);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("key".to_owned(), Value::from(key.reveal().as_str()));
    }
    Ok(Told::Json(told))
}

/// Revokes a key, at once.
///
/// # Errors
/// `not_found`
pub async fn revoke<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let view = look(cx, &cx.id).await?;
    put(cx, entry_of(&view)).await?;
    let event = cx.event(Deed::KeyRevoke).target("key").about(&view.id);
    let view = changed(cx, &view.id, Command::Revoke, event).await?;
    put(cx, entry_of(&view)).await?;
    Ok(Told::Json(shown(&view)))
}

/// Brings the events that wait in keys' objects to the log: for the cron. A key stays on its list as long as a change
/// may be on its way.
///
/// # Errors
/// The list could not be read; an object or the log did not answer.
pub async fn deliver_waiting<P: Port>(port: &P) -> Result<(), Refusal> {
    let waiting = IndexCommand::Waiting(PAGE);
    let waiting = ask::<KeyIndex>(port, Class::Directory, KEYS, waiting)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let IndexReply::Waiting(waiting) = waiting else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    let mut settled = Vec::new();
    let mut failed = None;
    for (id, since) in waiting {
        match drain_of(port, Class::Ledger, &key_object(&id)).await {
            Ok(_) if port.now().since(since) >= IN_FLIGHT => settled.push((id, since)),
            Ok(_) => {}
            Err(refusal) => failed = Some(refusal),
        }
    }
    if !settled.is_empty() {
        ask::<KeyIndex>(port, Class::Directory, KEYS, IndexCommand::Settled(settled))
            .await
            .map_err(|fault| storage_refusal(&fault))?;
    }
    failed.map_or(Ok(()), Err)
}

/// The record of a key.
///
/// # Errors
/// `not_found`, also for another tenant's.
pub async fn look<P: Port>(cx: &Context<'_, P>, id: &str) -> Result<View, Refusal> {
    if !is_id(id) {
        return Err(Refusal::new(Code::NotFound));
    }
    let reply = ask::<KeyRecord>(cx.port, Class::Ledger, &key_object(id), Command::Look)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    match reply {
        Reply::Known(view) => Ok(*view),
        _ => Err(Refusal::new(Code::NotFound)),
    }
}

/// A key as the list has it.
fn entry_of(view: &View) -> Entry {
    Entry {
        id: view.id.clone(),
        name: view.settings.name.clone(),
        created: view.created,
        created_by: view.created_by.clone(),
        revoked: view.revoked,
        waits: None,
    }
}

/// Puts a key on the list: before it is changed, so that the cron knows in whose object an event may wait that could
/// not be delivered, and after it, for what the list shows.
async fn put<P: Port>(cx: &Context<'_, P>, entry: Entry) -> Result<IndexReply, Refusal> {
    ask::<KeyIndex>(cx.port, Class::Directory, KEYS, IndexCommand::Put(entry))
        .await
        .map_err(|fault| storage_refusal(&fault))
}

async fn changed<P: Port>(
    cx: &Context<'_, P>,
    id: &str,
    command: Command,
    event: crate::app::audit::Event,
) -> Result<View, Refusal> {
    let name = key_object(id);
    let reply = told::<KeyRecord>(cx.port, Class::Ledger, &name, command, Some(event.outbox()))
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    cx.port.known(|known| known.forget_key(id));
    cx.deliver(Class::Ledger, &name).await;
    match reply {
        Reply::Known(view) => Ok(*view),
        Reply::Invalid => Err(Refusal::new(Code::InvalidParameter)),
        Reply::Unknown => Err(Refusal::new(Code::NotFound)),
        Reply::Full => Err(Refusal::new(Code::Conflict).detail(format!(
            "{MAX_PREVIOUS} earlier secrets of this key are good still. Wait until one is over, or rotate with overlap_seconds 0, which ends all of them at once."
        ))),
        _ => Err(Refusal::new(Code::Conflict)
            .detail("The key was changed or revoked meanwhile; read it again.")),
    }
}

/// A key as operators see it.
#[must_use]
pub fn shown(view: &View) -> Value {
    let settings = &view.settings;
    let names = |names: &Names| match names {
        Names::All => Value::from("all"),
        Names::Only(names) => json!(names),
    };
    let stores = match settings.scopes.stores {
        Stores::None => "none",
        Stores::Read => "read",
        Stores::Write => "write",
    };
    json!({
        "id": view.id,
        "name": settings.name,
        "version": view.version,
        "scopes": {
            "aliases": names(&settings.scopes.aliases),
            "endpoints": names(&settings.scopes.endpoints),
            "stores": stores,
        },
        "tags": settings.tags,
        "tier": settings.tier,
        "allowance": settings.allowance,
        "expires_at": settings.expires.map(Millis::rfc3339),
        "public_keys": settings.public_keys,
        "must_sign": settings.must_sign,
        "created_at": view.created.rfc3339(),
        "created_by": view.created_by,
        "secret_since": view.secret_since.rfc3339(),
        "overlap_until": view.overlap_until.map(Millis::rfc3339),
        "revoked_at": view.revoked.map(Millis::rfc3339),
        "last_used_at": view.last_used.map(Millis::rfc3339),
    })
}

/// What an operator sets, over what stands. A new key reaches what it is given and nothing else.
fn settings<P: Port>(
    cx: &Context<'_, P>,
    before: Option<&KeySettings>,
) -> Result<KeySettings, Refusal> {
    let fields = &cx.fields;
    let mut settings = match before {
        Some(before) => before.clone(),
        None => KeySettings {
            name: String::new(),
            scopes: Scopes {
                aliases: Names::Only(Vec::new()),
                endpoints: Names::All,
                stores: Stores::None,
            },
            tags: BTreeMap::new(),
            tier: None,
            allowance: None,
            expires: None,
            public_keys: Vec::new(),
            must_sign: false,
        },
    };
    match fields.get("name") {
        Some(Value::String(name)) => name.trim().clone_into(&mut settings.name),
        Some(_) => return Err(invalid("name", "must be a text")),
        None if before.is_none() => return Err(missing("name")),
        None => {}
    }
    match fields.get("scopes") {
        Some(Value::Object(given)) => scopes(given, &mut settings.scopes)?,
        Some(_) => return Err(invalid("scopes", "must be an object")),
        None if before.is_none() => return Err(missing("scopes")),
        None => {}
    }
    read(fields, "tags", &mut settings.tags)?;
    read(fields, "tier", &mut settings.tier)?;
    read::<Option<Allowance>>(fields, "allowance", &mut settings.allowance)?;
    read::<Vec<PublicKey>>(fields, "public_keys", &mut settings.public_keys)?;
    read(fields, "must_sign", &mut settings.must_sign)?;
    match fields.get("expires_at") {
        None => {}
        Some(Value::Null) => settings.expires = None,
        Some(value) => {
            let at = value.as_str().and_then(Millis::from_rfc3339);
            let at = at.filter(|at| *at > cx.port.now());
            settings.expires = Some(at.ok_or_else(|| {
                invalid(
                    "expires_at",
                    "must be a time to come, such as 2027-01-31T00:00:00Z",
                )
            })?);
        }
    }
    let config = &cx.port.settings().config;
    if let Some(tier) = &settings.tier
        && !config.tiers.iter().any(|known| known.name == *tier)
    {
        return Err(invalid("tier", "names no [[tier]] of the configuration"));
    }
    if let Names::Only(aliases) = &settings.scopes.aliases {
        for alias in aliases {
            if cx.port.settings().alias(alias).is_none() {
                return Err(invalid(
                    "scopes.aliases",
                    "names an alias that there is not",
                ));
            }
        }
    }
    match settings.faults().into_iter().next() {
        Some((path, reason)) => Err(invalid(&path, reason)),
        None => Ok(settings),
    }
}

fn scopes(given: &Map<String, Value>, scopes: &mut Scopes) -> Result<(), Refusal> {
    for (name, value) in given {
        match name.as_str() {
            "aliases" => scopes.aliases = names(value, "scopes.aliases")?,
            "endpoints" => scopes.endpoints = names(value, "scopes.endpoints")?,
            "stores" => {
                scopes.stores = match value.as_str() {
                    Some("none") => Stores::None,
                    Some("read") => Stores::Read,
                    Some("write") => Stores::Write,
                    _ => return Err(invalid("scopes.stores", "must be none, read or write")),
                }
            }
            _ => return Err(invalid("scopes", "knows aliases, endpoints and stores")),
        }
    }
    Ok(())
}

fn names(value: &Value, path: &'static str) -> Result<Names, Refusal> {
    match value {
        Value::String(all) if all == "all" => Ok(Names::All),
        Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Names::Only)
            .ok_or_else(|| invalid(path, "must be \"all\" or a list of names")),
        _ => Err(invalid(path, "must be \"all\" or a list of names")),
    }
}

/// A field in its stored form, where it is there.
fn read<T: serde::de::DeserializeOwned>(
    fields: &Map<String, Value>,
    name: &'static str,
    to: &mut T,
) -> Result<(), Refusal> {
    if let Some(value) = fields.get(name) {
        *to = T::deserialize(value)
            .map_err(|error| invalid(name, &["cannot be read: ", &error.to_string()].concat()))?;
    }
    Ok(())
}

/// What the record may tell of settings. Names and tags may be personal and stay out.
fn plain(settings: &KeySettings) -> Map<String, Value> {
    let kids = settings.public_keys.iter().map(|key| key.kid.as_str());
    let told = json!({
        "scopes": settings.scopes,
        "tier": settings.tier,
        "allowance": settings.allowance,
        "expires_at": settings.expires.map(Millis::rfc3339),
        "public_keys": kids.collect::<Vec<_>>(),
        "must_sign": settings.must_sign,
    });
    match told {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}

/// Names of fields, for the record: never their values.
fn names_of(fields: &Map<String, Value>) -> String {
    fields
        .keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
