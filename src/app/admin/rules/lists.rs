//! Lists and blocks.

use serde_json::{Value, json};

use super::allowances::known_key;
use super::{LONGEST_BLOCK, changed, parsed};
use crate::app::admin::sign_in::{optional, required};
use crate::app::admin::{Context, Told};
use crate::app::audit::short;
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::is_visitor_id;
use crate::domain::identity::roles::Action;
use crate::domain::limits::rules::{Block, Change, Lists, Snapshot, Target};
use crate::domain::limits::{Access, Cidr};
use crate::domain::llm::request::invalid;

/// Allow and deny lists, and blocks.
///
/// # Errors
/// `limiter_unavailable`
pub async fn lists<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let blocks: Vec<Value> = rules
        .blocks
        .iter()
        .map(|(id, block)| block_fields(id, block))
        .collect();
    Ok(Told::Json(json!({
        "version": rules.version,
        "configured": cx.port.settings().config.access,
        "lists": rules.lists,
        "admin_allow": rules.admin_allow,
        "blocks": blocks,
    })))
}

/// Changes the operators' lists; what is left out stays. All of it is one change.
///
/// # Errors
/// `invalid_parameter`; `conflict` for a list that would lock this operator out; `forbidden` for the networks of
/// operators, which are the owners' matter.
pub async fn lists_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let mut fields = cx.fields.clone();
    fields.remove("expect");
    let wanted: Lists = parsed(&Value::Object(fields.clone()), "lists")?;
    if wanted.admin_allow.is_some() {
        cx.may(Action::AdminAllow).await?;
    }
    let now = rules(cx.port).await?;
    let mut then = Snapshot {
        lists: now.lists.clone(),
        admin_allow: now.admin_allow.clone(),
        ..Snapshot::default()
    };
    let _before = wanted
        .clone()
        .replace(&mut then.lists, &mut then.admin_allow);
    let config = &cx.port.settings().config;
    let source = crate::domain::limits::Source::parse(cx.head.address.as_deref());
    let decision = then.access(
        &Access::of(&config.access),
        &source,
        cx.caller.country.as_deref(),
        cx.head.asn,
    );
    if decision != crate::domain::limits::Decision::Checked
        || !then.admin_allows(&source, &config.admin.allow)
    {
        return Err(Refusal::new(Code::Conflict)
            .detail("With these lists you could not come back from where you are."));
    }
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let event = cx
        .event(Deed::ListsChange)
        .target("lists")
        .detail("lists", &names.join(" "))
        .detail(
            "old",
            &short(&json!({"lists": now.lists, "admin_allow": now.admin_allow})),
        )
        .detail(
            "new",
            &short(&json!({"lists": then.lists, "admin_allow": then.admin_allow})),
        );
    let told = json!({"lists": then.lists, "admin_allow": then.admin_allow});
    changed(cx, Change::Lists(wanted), event, told).await
}

pub(super) fn target_fields(target: &Target) -> Value {
    match target {
        Target::Cidr(cidr) => json!({"cidr": cidr}),
        Target::Visitor(id) => json!({"visitor": id}),
        Target::Key(id) => json!({"key": id}),
    }
}

pub(super) fn block_fields(id: &str, block: &Block) -> Value {
    json!({
        "id": id,
        "what": target_fields(&block.what),
        "until": block.until.rfc3339(),
        "reason": block.reason,
        "by": block.by,
    })
}

/// Whom the record of a block is about: what is said of a visitor goes when the visitor is erased.
fn block_subject<'a>(id: &'a str, block: &'a Block) -> &'a str {
    match &block.what {
        Target::Visitor(visitor) => visitor,
        Target::Cidr(_) | Target::Key(_) => id,
    }
}

/// Blocks a network, a visitor or a key: `{cidr | visitor | key, seconds, reason}`.
///
/// # Errors
/// `invalid_parameter`; `conflict` for one's own network.
pub async fn block_add<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let target = match (
        optional(cx, "cidr")?,
        optional(cx, "visitor")?,
        optional(cx, "key")?,
    ) {
        (Some(cidr), None, None) => {
            let cidr: Cidr = cidr
                .parse()
                .map_err(|error| invalid("cidr", &["is ", &format!("{error}")].concat()))?;
            Target::Cidr(cidr)
        }
        (None, Some(id), None) if is_visitor_id(id) => Target::Visitor(id.to_owned()),
        (None, Some(_), None) => return Err(invalid("visitor", "is no visitor's id")),
        (None, None, Some(id)) => {
            known_key(cx, id, "key").await?;
            Target::Key(id.to_owned())
        }
        _ => {
            return Err(invalid(
                "cidr",
                "or visitor or key must be given, one of them",
            ));
        }
    };
    let seconds = cx
        .fields
        .get("seconds")
        .and_then(Value::as_u64)
        .filter(|seconds| (1..=LONGEST_BLOCK).contains(seconds))
        .ok_or_else(|| invalid("seconds", "must lie between 1 and 31536000 (a year)"))?;
    let block = Block {
        what: target,
        until: cx.port.now().plus(Millis::from_secs(seconds)),
        reason: required(cx, "reason")?.to_owned(),
        by: cx.operator().to_owned(),
    };
    let source = crate::domain::limits::Source::parse(cx.head.address.as_deref());
    if let (Target::Cidr(cidr), Some(address)) = (&block.what, source.address())
        && cidr.contains(address)
    {
        return Err(Refusal::new(Code::Conflict).detail("That network is the one you come from."));
    }
    let id = cx.new_id("blk");
    let event = cx
        .event(Deed::ListsChange)
        .target("block")
        .about(block_subject(&id, &block))
        .detail("block", &id)
        .detail("reason", &block.reason);
    let told = block_fields(&id, &block);
    changed(cx, Change::Block(id, Some(block)), event, told).await
}

/// Lifts a block.
///
/// # Errors
/// `not_found`
pub async fn block_remove<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let block = rules.blocks.get(&cx.id);
    let block = block.ok_or_else(|| Refusal::new(Code::NotFound))?;
    let event = cx
        .event(Deed::ListsChange)
        .target("block")
        .about(block_subject(&cx.id, block))
        .detail("block", &cx.id)
        .detail("change", "lifted");
    let told = json!({"id": cx.id, "lifted": true});
    changed(cx, Change::Block(cx.id.clone(), None), event, told).await
}
