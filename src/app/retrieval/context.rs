//! Passages for a model's call: which stores it asks, what is found in them, and how that is told.

use serde_json::{Map, Value, json};

use super::search::{Found, Wanted, find};
use super::{not_found, owner_of_it};
use crate::app::documents::owner_of;
use crate::app::gate::{Caller, may_store};
use crate::app::objects::{ask as ask_object, key_object};
use crate::app::port::{Class, Port, storage_refusal};
use crate::app::request::Head;
use crate::base::digest::{hex, hmac_sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::domain::identity::Principal;
use crate::domain::identity::key_record::{Command, KeyRecord, Reply, Stores};
use crate::domain::llm::Protocol;
use crate::domain::llm::passages::{Lookup, Passages, Source, Told};
use crate::domain::llm::request::{ChatRequest, invalid, missing};
use crate::domain::retrieval::filter::Filter;
use crate::domain::retrieval::wire;
use crate::domain::settings::config::Alias;

/// Most stores that one request may ask.
const MAX_STORES: usize = 4;

/// What stands in the field of a request that is ours.
const OURS: &str = "gatehouse";

/// The tool of the Responses API.
const TOOL: &str = "file_search";

/// What its caller may want to see of it.
const RESULTS: &str = "file_search_call.results";

// === what a request asks for ===

/// Takes out of a request what it wants to be looked up: the field `gatehouse`, or the tool `file_search`. No provider
/// sees either.
///
/// # Errors
/// `missing_parameter`, `invalid_parameter`
pub fn taken(
    fields: &mut Map<String, Value>,
    protocol: Protocol,
) -> Result<Option<Lookup>, Refusal> {
    let own = match fields.shift_remove(OURS) {
        None | Some(Value::Null) => None,
        Some(Value::Object(own)) => Some(own),
        Some(_) => return Err(invalid(OURS, "must be an object")),
    };
    let of_tool = match protocol {
        Protocol::Responses => of_tool(fields)?,
        Protocol::Chat | Protocol::Messages => None,
    };
    let Some(own) = own else {
        return Ok(of_tool);
    };
    if of_tool.is_some() {
        return Err(invalid(
            OURS,
            "cannot be together with the tool file_search",
        ));
    }
    lookup(&own, "gatehouse.stores", own.get("stores")).map(Some)
}

fn of_tool(fields: &mut Map<String, Value>) -> Result<Option<Lookup>, Refusal> {
    let is_it = |tool: &Value| tool.get("type").and_then(Value::as_str) == Some(TOOL);
    let Some(Value::Array(tools)) = fields.get_mut("tools") else {
        return Ok(None);
    };
    let all = Value::Array(tools.clone());
    let mut found = tools.iter().filter(|tool| is_it(tool));
    let (Some(tool), another) = (found.next().cloned(), found.next().is_some()) else {
        return Ok(None);
    };
    if another {
        return Err(invalid("tools", "must hold file_search once"));
    }
    tools.retain(|tool| !is_it(tool));
    if tools.is_empty() {
        fields.shift_remove("tools");
        fields.shift_remove("tool_choice");
    } else if fields.get("tool_choice").is_some_and(is_it) {
        fields.shift_remove("tool_choice");
    }
    let mut results = false;
    if let Some(Value::Array(include)) = fields.get_mut("include") {
        let before = include.len();
        include.retain(|one| one != RESULTS);
        results = include.len() < before;
        if include.is_empty() {
            fields.shift_remove("include");
        }
    }
    let tool = tool.as_object().cloned().unwrap_or_default();
    let mut wanted = lookup(
        &tool,
        "tools[].vector_store_ids",
        tool.get("vector_store_ids"),
    )?;
    wanted.tools = Some(all);
    wanted.results = results;
    Ok(Some(wanted))
}

fn lookup(
    fields: &Map<String, Value>,
    param: &str,
    stores: Option<&Value>,
) -> Result<Lookup, Refusal> {
    let given = |name: &str| fields.get(name).filter(|given| !given.is_null()).cloned();
    let stores = stores
        .and_then(Value::as_array)
        .ok_or_else(|| missing(param))?;
    let stores: Option<Vec<String>> = stores
        .iter()
        .map(|id| id.as_str().map(str::to_owned))
        .collect();
    let stores = stores.filter(|all| (1..=MAX_STORES).contains(&all.len()));
    // What is wrong is told before anything is looked for.
    let filters = given("filters");
    filters.as_ref().map(Filter::read).transpose()?;
    let ranking = given("ranking_options");
    wire::ranking(ranking.as_ref())?;
    wire::weights(ranking.as_ref())?;
    let most = match fields.get("max_num_results") {
        None | Some(Value::Null) => None,
        some => Some(wire::most(some, 0)?),
    };
    Ok(Lookup {
        stores: stores.ok_or_else(|| invalid(param, "must be 1 to 4 ids of vector stores"))?,
        most,
        filters,
        ranking,
        tools: None,
        results: false,
    })
}

// === where it is looked up ===

/// A store that is asked, and with whose rights.
pub struct Place {
    owner: String,
    store: String,
    reader: Caller,
    /// An operator named it for everybody.
    shared: bool,
}

/// The stores that a call asks: those of its alias, and those of the caller that it names.
///
/// # Errors
/// `cross_site_refused`, `forbidden`, `vector_store_not_found`; `storage_unavailable`.
pub async fn places<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
) -> Result<Vec<Place>, Refusal> {
    let mut places = Vec::new();
    if let Some(lookup) = &request.lookup {
        head.own_site()?;
        may_store(caller, Stores::Read)?;
        for store in &lookup.stores {
            places.push(Place {
                owner: owner_of_it(caller, head, store)?,
                store: store.clone(),
                reader: caller.clone(),
                shared: false,
            });
        }
    }
    for named in &alias.stores {
        let Some((key, store)) = named.split_once('/') else {
            continue;
        };
        let Some(reader) = as_key(port, caller, key).await? else {
            continue;
        };
        let owner = owner_of(&reader).map(std::borrow::Cow::into_owned);
        places.extend(owner.map(|owner| Place {
            owner,
            store: store.to_owned(),
            reader,
            shared: true,
        }));
    }
    Ok(places)
}

/// Somebody with the rights of that key, as long as it is good.
async fn as_key<P: Port>(port: &P, caller: &Caller, id: &str) -> Result<Option<Caller>, Refusal> {
    let look = ask_object::<KeyRecord>(port, Class::Ledger, &key_object(id), Command::Look).await;
    let view = match look.map_err(|fault| storage_refusal(&fault))? {
        Reply::Known(view) if view.is_live(port.now()) => view,
        _ => return Ok(None),
    };
    let mut reader = caller.clone();
    reader.payer.tier.clone_from(&view.settings.tier);
    reader.principal = Principal::Key(view);
    Ok(Some(reader))
}

// === what is found ===

/// What is found in those stores for a request.
///
/// # Errors
/// `vector_store_not_found` for one that the caller named; `storage_unavailable`, `keyring_unavailable`, `integrity`.
pub async fn passages<P: Port>(
    port: &P,
    places: &[Place],
    request: &ChatRequest,
) -> Result<Passages, Refusal> {
    let config = &port.settings().config.retrieval;
    let lookup = request.lookup.clone().unwrap_or_default();
    let (rerank, threshold) = wire::ranking(lookup.ranking.as_ref())?;
    let question = request.question();
    let wanted = Wanted {
        questions: vec![question.clone()],
        filter: lookup.filters.as_ref().map(Filter::read).transpose()?,
        most: lookup.most.unwrap_or(config.max_results),
        threshold,
        rerank,
        weights: wire::weights(lookup.ranking.as_ref())?,
    };
    let everywhere = Wanted {
        filter: None,
        threshold: 0.0,
        rerank: true,
        weights: (1.0, 1.0),
        most: config.max_results,
        ..wanted.clone()
    };
    let mut found: Vec<Found> = Vec::new();
    for place in places {
        let wanted = if place.shared { &everywhere } else { &wanted };
        match find(port, &place.reader, &place.owner, &place.store, wanted).await {
            Ok(more) => found.extend(more),
            // The operator's business; the caller cannot mend it.
            Err(refusal) if place.shared && refusal.code == not_found().code => {}
            Err(refusal) => return Err(refusal),
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(wanted.most.max(1));
    let mut room = config.max_context_bytes;
    found.retain(|one| {
        let length = one.passage.text.len();
        let fits = length <= room;
        room = room.saturating_sub(if fits { length } else { 0 });
        fits
    });
    let sources: Vec<Source> = found.into_iter().map(source).collect();
    let told = lookup.tools.map(|tools| Told {
        call: call(port, &question, &sources, lookup.results),
        tools,
    });
    Ok(Passages {
        mark: mark(port, &question, &sources)?,
        sources,
        shared: places.iter().all(|place| place.shared),
        told,
    })
}

fn source(found: Found) -> Source {
    Source {
        file: found.file,
        filename: found.filename,
        heading: found.passage.heading,
        anchor: found.passage.anchor,
        text: found.passage.text,
        score: found.score,
        attributes: found.attributes,
    }
}

/// The mark of the block: the same for the same question and passages, so that answers of the cache are found again, and
/// known to nobody without the key.
fn mark<P: Port>(port: &P, question: &str, sources: &[Source]) -> Result<String, Refusal> {
    let keys = port.settings().keys.as_ref();
    let keys = keys.ok_or_else(|| Refusal::new(Code::SetupRequired))?;
    let said: Vec<(&str, &str)> = sources
        .iter()
        .map(|source| (source.file.as_str(), source.text.as_str()))
        .collect();
    let text = json!(["passages/v1", question, said]).to_string();
    let mac = hmac_sha256(keys.cache.reveal(), text.as_bytes());
    let short: String = hex(&mac).chars().take(16).collect();
    Ok(["=", &short].concat())
}

/// The item of a response that tells of the search.
fn call<P: Port>(port: &P, question: &str, sources: &[Source], results: bool) -> Value {
    let listed = results.then(|| {
        let listed = sources.iter().map(|source| {
            json!({
                "file_id": source.file,
                "filename": source.filename,
                "score": source.score,
                "text": source.text,
                "attributes": source.attributes,
            })
        });
        Value::Array(listed.collect())
    });
    json!({
        "id": prefixed("fs", &port.random()),
        "type": "file_search_call",
        "status": "completed",
        "queries": [question],
        "results": listed,
    })
}
