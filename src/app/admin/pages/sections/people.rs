//! Who calls: API keys, site keys, visitors.

use serde_json::Value;

use super::{acting, called, code, filter, filters, options, used};
use crate::app::admin::pages::form::{Form, View, encoded};
use crate::app::admin::pages::html::{
    ACTIONS, allowance, at, element, facts, link, list_at, section, show, str_at, table, text,
    words,
};
use crate::app::admin::pages::{Answer, Context, Page, told};
use crate::app::port::Port;
use crate::app::reply::Reply;
use crate::base::errors::Refusal;
use crate::domain::identity::is_visitor_id;

/// The list of API keys, and the form for a new one.
pub async fn keys<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let after = cx.head.query_value("after").unwrap_or_default();
    // The endpoint reads the cursor in the query.
    let list = told(cx, &["/keys?after=", &encoded(&after)].concat()).await?;
    let columns = [
        ("Name", "name"),
        ("Id", "id"),
        ("Created", "created_at"),
        ("By", "created_by"),
        ("Revoked", "revoked_at"),
    ];
    let cell = |field: &str, row: &Value| match field {
        "name" => Some(link(&["/keys/", str_at(row, "id")].concat(), called(row))),
        "id" => Some(code(at(row, "id"))),
        _ => None,
    };
    let mut out = table("API keys", &columns, list_at(&list, "keys"), &cell);
    if let Some(next) = at(&list, "next").as_str() {
        let next = ["/keys?after=", &encoded(next)].concat();
        out.push_str(&element("p", &[], &link(&next, "More keys")));
    }
    let form = key_fields(cx, view.form("POST /keys"), &Value::Null).end("Create the key");
    out.push_str(&section("New key", &form));
    Ok(out)
}

/// One API key.
pub async fn key<P: Port>(cx: &Context<'_, P>, view: &View, id: &str) -> Result<Page, Refusal> {
    let key = told(cx, &["/keys/", id].concat()).await?;
    let scopes = at(&key, "scopes");
    let mut out = facts(&[
        ("Id", code(at(&key, "id"))),
        (
            "State",
            match (at(&key, "revoked_at"), at(&key, "overlap_until")) {
                (Value::Null, Value::Null) => "In use".to_owned(),
                (Value::Null, until) => {
                    ["In use; the old secret is good until ", &show(until)].concat()
                }
                (at, _) => ["Revoked ", &show(at)].concat(),
            },
        ),
        ("Models", show(at(scopes, "aliases"))),
        ("Endpoints", show(at(scopes, "endpoints"))),
        ("Documents and stored answers", show(at(scopes, "stores"))),
        ("Tier", show(at(&key, "tier"))),
        ("Limits of its own", allowance(at(&key, "allowance"))),
        ("Tags", show(at(&key, "tags"))),
        ("Expires", show(at(&key, "expires_at"))),
        ("Secret since", show(at(&key, "secret_since"))),
        ("Last used", show(at(&key, "last_used_at"))),
        (
            "Created",
            [
                &show(at(&key, "created_at")),
                " by ",
                &show(at(&key, "created_by")),
            ]
            .concat(),
        ),
    ]);
    out.push_str(&used(at(&key, "used")));
    if at(&key, "revoked_at").is_null() {
        let path = ["/keys/", str_at(&key, "id")].concat();
        let rotate = view
            .form(&["POST ", &path, "/rotate"].concat())
            .hidden("_subject", called(&key))
            .select(
                "The old secret is good for",
                "overlap_seconds:number",
                &OVERLAPS,
                "86400",
                "Put the new secret where its program reads it within this time.",
            )
            .end("Rotate the key");
        out.push_str(&section("New secret", &rotate));
        let form = view
            .form(&["PATCH ", &path].concat())
            .hidden("version:number", &words(at(&key, "version")));
        let form = key_fields(cx, form, &key)
            .hidden("must_sign:bool", "false")
            .check(
                "Requests must be signed (RFC 9421)",
                "must_sign:bool",
                "true",
                at(&key, "must_sign") == &Value::Bool(true),
            )
            .area(
                "Public keys, as JSON",
                "public_keys:json",
                &at(&key, "public_keys").to_string(),
                "For signed requests: Ed25519 or ECDSA P-256.",
            );
        out.push_str(&section("Change", &form.end("Save")));
        let revoke = view
            .form(&["DELETE ", &path].concat())
            .hidden("_subject", called(&key))
            .end_as("Revoke the key", "", "danger");
        out.push_str(&section("Revoke", &revoke));
    }
    Ok(Page::ok(called(&key), out))
}

const OVERLAPS: [(&str, &str); 4] = [
    ("0", "no time: it ends now"),
    ("3600", "1 hour"),
    ("86400", "24 hours"),
    ("604800", "7 days"),
];

/// What an operator sets of a key; `now` is null for a new one.
fn key_fields<'v, P: Port>(cx: &Context<'_, P>, form: Form<'v>, now: &Value) -> Form<'v> {
    let settings = cx.port.settings();
    let scopes = at(now, "scopes");
    let all = at(scopes, "aliases") == "all";
    let mut form = form
        .input(
            "Name",
            "name",
            str_at(now, "name"),
            &[("required", ""), ("maxlength", "100")],
            "",
        )
        .group("Models it may call")
        .hidden("scopes.aliases:none", "");
    for alias in &settings.aliases {
        let name = alias.config.name.as_str();
        let ticked = list_at(scopes, "aliases").iter().any(|known| known == name);
        form = form.check(name, "scopes.aliases:item", name, ticked);
    }
    let lines: Vec<&str> = list_at(scopes, "endpoints")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let tags = at(now, "tags").as_object().into_iter().flatten();
    let tags: Vec<String> = tags
        .map(|(name, value)| [name.as_str(), "=", &words(value)].concat())
        .collect();
    let expires = str_at(now, "expires_at").get(..19).unwrap_or_default();
    let tiers = settings.config.tiers.iter().map(|tier| tier.name.as_str());
    form.check(
        "Every model, also those to come",
        "scopes.aliases",
        "all",
        all,
    )
    .ungroup()
    .hidden("scopes.endpoints", "all")
    .area(
        "Endpoints it may call",
        "scopes.endpoints:lines",
        &lines.join("\n"),
        "One in a line, such as /v1/chat/completions. Empty: every one.",
    )
    .select(
        "Documents and stored answers",
        "scopes.stores",
        &STORES,
        str_at(scopes, "stores"),
        "",
    )
    .select(
        "Tier",
        "tier:maybe",
        &options(Some(("", "none")), tiers),
        str_at(now, "tier"),
        "",
    )
    .input(
        "Expires (UTC)",
        "expires_at:time",
        expires,
        &[("type", "datetime-local"), ("step", "1")],
        "Empty: never.",
    )
    .area(
        "Tags",
        "tags:pairs",
        &tags.join("\n"),
        "One in a line, such as team=search.",
    )
}

const STORES: [(&str, &str); 3] = [
    ("none", "no access"),
    ("read", "read"),
    ("write", "read and write"),
];

/// Site keys.
pub async fn site_keys<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let list = told(cx, "/site-keys").await?;
    let keys = list_at(&list, "site_keys");
    let columns = [
        ("Name", "name"),
        ("Key", "id"),
        ("Origins", "origins"),
        ("Proof", "proof"),
        ("Tier", "tier"),
        ("Makes sessions", "enabled"),
        ("Actions", ACTIONS),
    ];
    let changing = |key: &Value| ["PUT /site-keys/", str_at(key, "id")].concat();
    let forms = |key: &Value| {
        let path = ["/site-keys/", str_at(key, "id")].concat();
        let mut out = String::new();
        if view.may(&changing(key)) {
            let edit = ["/site-keys?id=", &encoded(str_at(key, "id"))].concat();
            out.push_str(&link(&edit, "Change"));
        }
        out + &view.button(
            &["DELETE ", &path].concat(),
            "Remove",
            called(key),
            &[("_subject", called(key))],
        )
    };
    let mut out = table("site keys", &columns, keys, &acting("id", &forms));
    // The one that was asked for, or whose form was refused.
    let asked = cx.head.query_value("id").unwrap_or_default();
    let failed = |key: &Value| {
        let said = view
            .failed
            .as_ref()
            .map(|(pairs, _)| crate::app::admin::pages::form::call(pairs));
        said.is_some_and(|call| call == changing(key))
    };
    let chosen = keys
        .iter()
        .find(|key| str_at(key, "id") == asked || failed(key));
    let (call, now, button) = match chosen {
        Some(key) => (changing(key), key, "Save"),
        None => (
            "POST /site-keys".to_owned(),
            &Value::Null,
            "Create the site key",
        ),
    };
    let origins: Vec<&str> = list_at(now, "origins")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let tiers = cx
        .port
        .settings()
        .config
        .tiers
        .iter()
        .map(|tier| tier.name.as_str());
    let form = view
        .form(&call)
        .input("Name", "name", str_at(now, "name"), &[("maxlength", "100")], "")
        .area("Origins", "origins:list", &origins.join("\n"), "One in a line, such as https://example.com: scheme, host, and port where it is not the usual one.")
        .select("Proof of a new session", "proof:maybe", &PROOFS, str_at(now, "proof"), "")
        .select("Tier", "tier:maybe", &options(Some(("", "as configured")), tiers), str_at(now, "tier"), "")
        .hidden("enabled:bool", "false")
        .check("It makes sessions", "enabled:bool", "true", now.is_null() || at(now, "enabled") == &Value::Bool(true))
        .end(button);
    let heading = chosen.map_or("New site key", called);
    out.push_str(&section(heading, &form));
    Ok(out)
}

const PROOFS: [(&str, &str); 4] = [
    ("", "as configured"),
    ("none", "none"),
    ("work", "proof of work"),
    ("turnstile", "Turnstile"),
];

/// Looking a visitor up.
pub async fn visitors<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<Answer<P>, Refusal> {
    let asked = cx.head.query_value("id").unwrap_or_default();
    let id = asked.trim();
    if is_visitor_id(id) {
        let address = ["/admin/visitors/", id].concat();
        let reply = Reply::status(303)
            .header("location", address)
            .header("cache-control", "no-store");
        return Ok(Answer::Reply(reply));
    }
    // Nothing is read before somebody is looked up, so that the right is asked here.
    cx.may(crate::domain::identity::roles::Action::VisitorsRead)
        .await?;
    let mut out = String::new();
    if !id.is_empty() {
        let words = text("p", "This is no visitor's id: they begin with vis_.");
        out.push_str(&element(
            "div",
            &[("class", "refusal"), ("role", "alert"), ("id", "error")],
            &words,
        ));
    }
    out.push_str(&text(
        "p",
        "Visitors find their id at /api/me, and the audit log names it.",
    ));
    out.push_str(&filters(
        "/visitors",
        &filter("Visitor's id", "id", id, "vis_…"),
        "Look up",
    ));
    let all = view
        .form("POST /visitors/revoke-all")
        .end_as("End all sessions", "", "danger");
    out.push_str(&section("Every visitor", &all));
    Ok(Answer::Page(Page::ok("Visitors", out)))
}

/// One visitor.
pub async fn visitor<P: Port>(cx: &Context<'_, P>, view: &View, id: &str) -> Result<Page, Refusal> {
    let visitor = told(cx, &["/visitors/", id].concat()).await?;
    let mut out = facts(&[
        ("Id", code(at(&visitor, "id"))),
        (
            "Sessions void until",
            show(at(&visitor, "sessions_void_until")),
        ),
    ]);
    let columns = [
        ("Block", "id"),
        ("Until", "until"),
        ("Reason", "reason"),
        ("By", "by"),
    ];
    let blocks = list_at(&visitor, "blocks");
    if !blocks.is_empty() {
        out.push_str(&section(
            "Blocks",
            &table("blocks", &columns, blocks, &|_, _| None),
        ));
    }
    out.push_str(&used(at(&visitor, "used")));
    let id = str_at(&visitor, "id");
    let end = view
        .form(&["POST /visitors/", id, "/revoke"].concat())
        .hidden("_subject", id)
        .end_as("End the sessions", "", "danger");
    out.push_str(&section("End the sessions", &end));
    let block =
        super::use_of::block_fields(view.form("POST /blocks").hidden("visitor", id)).end("Block");
    out.push_str(&section("Block for a time", &block));
    let erase = view
        .form("POST /erase")
        .hidden("visitor", id)
        .hidden("_subject", id)
        .end_as("Erase the data", "", "danger");
    out.push_str(&section("Erase", &erase));
    Ok(Page::ok("Visitor", out))
}

/// What scans held back, what operators hold, and a form that holds a document.
pub async fn documents<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let state = cx.head.query_value("state").unwrap_or_default();
    let after = cx.head.query_value("after").unwrap_or_default();
    let address = |after: &str| ["/documents?state=", &encoded(&state), "&after=", after].concat();
    let list = told(cx, &address(&encoded(&after))).await?;
    let mut chosen = String::from("Show: ");
    for (value, label) in [("", "held back by scans"), ("held", "held by operators")] {
        let item = if value == state {
            text("strong", label)
        } else {
            link(&["/documents?state=", value].concat(), label)
        };
        chosen.push_str(&item);
        chosen.push(' ');
    }
    let mut out = element("p", &[("class", "choices")], &chosen);
    let columns = [
        ("Name", "filename"),
        ("Version", "version"),
        ("Id", "id"),
        ("Owner", "owner"),
        ("Bytes", "bytes"),
        ("State", "state"),
        ("For", "held_back_for"),
        ("Found", "findings"),
        ("Held", "hold"),
        ("Actions", ACTIONS),
    ];
    let forms = |row: &Value| {
        let id = str_at(row, "id");
        let owner = str_at(row, "owner");
        let path = |method: &str, rest: &str| [method, " /documents/", id, rest].concat();
        let asked = ["?owner=", &encoded(owner)].concat();
        let about = ["document ", id].concat();
        let version = words(at(row, "version"));
        let mut out = String::new();
        if str_at(row, "state") == "quarantined" {
            let fields = [("owner", owner), ("version:number", version.as_str())];
            out.push_str(&view.button(&path("POST", "/release"), "Release", &about, &fields));
        }
        if at(row, "hold").is_null() {
            out.push_str(&view.button(&path("DELETE", &asked), "Delete", &about, &[]));
        } else {
            let unhold = ["/hold", &asked].concat();
            out.push_str(&view.button(&path("DELETE", &unhold), "End the hold", &about, &[]));
        }
        out
    };
    let cells = |field: &str, row: &Value| match field {
        ACTIONS => Some(forms(row)),
        "id" | "owner" => Some(code(at(row, field))),
        "findings" => {
            let found = list_at(row, "findings").iter().map(|one| {
                let place = match at(one, "line") {
                    Value::Null => ["byte ", &words(at(one, "offset"))].concat(),
                    line => ["line ", &words(line)].concat(),
                };
                [
                    str_at(one, "rule"),
                    " (",
                    &place,
                    "): ",
                    str_at(one, "excerpt"),
                ]
                .concat()
            });
            let found: Vec<String> = found.map(|one| text("li", &one)).collect();
            Some(element("ul", &[], &found.concat()))
        }
        "hold" => {
            let hold = at(row, "hold");
            let words = match hold {
                Value::Null => String::new(),
                hold => [str_at(hold, "by"), ": ", str_at(hold, "reason")].concat(),
            };
            Some(text("span", &words))
        }
        _ => None,
    };
    let rows = list_at(&list, "documents");
    out.push_str(&table("documents", &columns, rows, &cells));
    if let Some(next) = at(&list, "next").as_str() {
        out.push_str(&element("p", &[], &link(&address(&encoded(next)), "More")));
    }
    let form = view
        .form("POST /documents/{id}/hold")
        .input(
            "Document",
            "{id}",
            "",
            &[("required", ""), ("placeholder", "file_…")],
            "Its id.",
        )
        .input(
            "Owner",
            "owner",
            "",
            &[("placeholder", "vis_…")],
            "Needed where the document is neither shared nor held back.",
        )
        .input(
            "Matter",
            "reason",
            "",
            &[("required", ""), ("maxlength", "500")],
            "Which matter it is held for.",
        )
        .end("Hold the document");
    out.push_str(&section("Hold a document", &form));
    Ok(out)
}
