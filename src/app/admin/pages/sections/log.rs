//! What happened: alerts, the audit log, the access review.

use serde_json::Value;

use super::{acting, filter, filters};
use crate::app::admin::pages::form::{View, encoded};
use crate::app::admin::pages::html::{
    ACTIONS, at, copyable, element, link, list_at, section, show, str_at, table, text, words,
};
use crate::app::admin::pages::{Context, told};
use crate::app::port::Port;
use crate::base::errors::Refusal;

/// Alerts, newest first.
pub async fn alerts<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let state = cx.head.query_value("state").unwrap_or_default();
    let before = cx.head.query_value("before").unwrap_or_default();
    let address = |before: &str| ["/alerts?state=", &encoded(&state), "&before=", before].concat();
    let list = told(cx, &address(&encoded(&before))).await?;
    let rows = list_at(&list, "alerts");
    let mut chosen = String::from("Show: ");
    for (value, label) in [
        ("", "all"),
        ("open", "open"),
        ("seen", "acknowledged"),
        ("undone", "undone"),
    ] {
        let item = if value == state {
            text("strong", label)
        } else {
            link(&["/alerts?state=", value].concat(), label)
        };
        chosen.push_str(&item);
        chosen.push(' ');
    }
    let mut out = element("p", &[("class", "choices")], &chosen);
    let columns = [
        ("Since", "at"),
        ("Alert", "kind"),
        ("About", "about"),
        ("Reason", "reason"),
        ("Level", "level"),
        ("Times", "count"),
        ("Until", "until"),
        ("State", "state"),
        ("By", "by"),
        ("Actions", ACTIONS),
    ];
    let forms = |row: &Value| {
        let path = ["POST /alerts/", str_at(row, "id")].concat();
        let about = ["alert ", str_at(row, "id")].concat();
        let mut out = String::new();
        if str_at(row, "state") == "open" {
            out.push_str(&view.button(&[&path, "/seen"].concat(), "Acknowledge", &about, &[]));
        }
        if at(row, "can_undo") == &Value::Bool(true) {
            out.push_str(&view.button(&[&path, "/undo"].concat(), "Undo", &about, &[]));
        }
        out
    };
    out.push_str(&table("alerts", &columns, rows, &acting("", &forms)));
    if at(&list, "more") == &Value::Bool(true)
        && let Some(last) = rows.last()
    {
        out.push_str(&element(
            "p",
            &[],
            &link(&address(str_at(last, "id")), "Older alerts"),
        ));
    }
    Ok(out)
}

const FILTERS: [(&str, &str, &str); 7] = [
    ("Since (UTC)", "since", "2026-11-21"),
    ("Until (UTC)", "until", "2026-11-22"),
    ("Action", "action", "key.create"),
    ("Kind of actor", "actor", "operator"),
    ("Outcome", "outcome", "ok"),
    ("Target", "target", "key"),
    ("About", "subject", "opr_…"),
];

/// The audit log: entries, checkpoint, verification, export.
pub async fn audit<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let mut query = String::new();
    let mut fields = String::new();
    let mut exported = view.form("GET /audit/export");
    for (label, name, hint) in FILTERS {
        let value = cx.head.query_value(name).unwrap_or_default();
        fields.push_str(&filter(label, name, &value, hint));
        exported = exported.hidden(name, &value);
        for part in ["&", name, "=", &encoded(&value)] {
            query.push_str(part);
        }
    }
    let before = cx.head.query_value("before").unwrap_or_default();
    let list = told(cx, &["/audit?before=", &encoded(&before), &query].concat()).await?;
    let columns = [
        ("Entry", "index"),
        ("At", "at"),
        ("Who", "who"),
        ("Action", "action"),
        ("Outcome", "outcome"),
        ("What", "what"),
    ];
    let cell = |field: &str, row: &Value| match field {
        "who" => {
            let who = at(row, "who");
            let name = match (str_at(who, "name"), at(row, "actor")) {
                ("", actor) => show(actor),
                (name, _) => show(&Value::from(name)),
            };
            let more = [
                words(at(row, "actor")),
                words(who),
                words(at(row, "request")),
            ]
            .join(", ");
            let more = text("summary", "More") + &text("code", &more);
            Some(name + &element("details", &[], &more))
        }
        "what" => Some([show(at(row, "target")), show(at(row, "what"))].join("; ")),
        _ => None,
    };
    let mut out = filters("/audit", &fields, "Filter");
    out.push_str(&table(
        "entries",
        &columns,
        list_at(&list, "entries"),
        &cell,
    ));
    if !at(&list, "next").is_null() {
        let older = ["/audit?before=", &words(at(&list, "next")), &query].concat();
        out.push_str(&element("p", &[], &link(&older, "Older entries")));
    }
    let kept = view
        .form("GET /audit/checkpoint")
        .say("A checkpoint is the signed head of the log. Keep one outside of this house from time to time: whatever is changed in the log before it, shows.")
        .end("Download the newest checkpoint");
    let mut keep = kept;
    if let Ok(key) = told(cx, "/audit/key").await {
        keep.push_str(&copyable(
            "Key that checkpoints are verified with",
            str_at(&key, "vkey"),
        ));
    }
    out.push_str(&section("Checkpoint", &keep));
    let verify = view
        .form("POST /audit/verify")
        .area(
            "An older checkpoint",
            "checkpoint",
            "",
            "The whole file, as it was downloaded.",
        )
        .end("Verify the log");
    out.push_str(&section("Verify", &verify));
    let formats = [("csv", "CSV"), ("json", "JSON")];
    let exported = exported
        .say("The entries that the filters leave. The export is an entry of the log itself.")
        .select("Format", "format", &formats, "csv", "")
        .end("Export");
    out.push_str(&section("Export", &exported));
    Ok(out)
}

/// Who may do what.
pub async fn access_review<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/access-review").await?;
    let mut out = text(
        "p",
        "Operators and API keys; those with something to ask about come first. Looking at it is on record.",
    );
    if at(&all, "complete") == &Value::Bool(false) {
        out.push_str(&element(
            "p",
            &[("class", "note")],
            "There are more keys than one review holds.",
        ));
    }
    let columns = [
        ("Name", "name"),
        ("Kind", "kind"),
        ("Id", "id"),
        ("Questions", "questions"),
        ("Rights", "rights"),
        ("Since", "created"),
        ("Expires", "expires"),
        ("Last used", "last_used"),
        ("Revoked or disabled", "revoked"),
    ];
    let cell = |field: &str, row: &Value| match field {
        "questions" => {
            let questions: Vec<Value> = list_at(row, field)
                .iter()
                .map(|word| Value::from(words(word).replace('_', " ")))
                .collect();
            Some(show(&Value::from(questions)))
        }
        // An operator has dozens; they follow from the role.
        "rights" if list_at(row, field).len() > 4 => {
            let first = list_at(row, field).first().map(show).unwrap_or_default();
            let count = list_at(row, field).len().saturating_sub(1).to_string() + " rights";
            let rest = list_at(row, field).iter().skip(1).cloned().collect();
            Some(
                first
                    + &element(
                        "details",
                        &[],
                        &(text("summary", &count) + &show(&Value::Array(rest))),
                    ),
            )
        }
        _ => acting("id", &|_| String::new())(field, row),
    };
    out.push_str(&table("access", &columns, list_at(&all, "access"), &cell));
    let download = view
        .form("GET /access-review")
        .hidden("format", "csv")
        .end_as("Download as CSV", "", "quiet");
    out.push_str(&download);
    Ok(out)
}
