//! The house itself: operators and their sessions, one's own factors, keyring, providers, flags.

use serde_json::Value;

use super::{acting, called, code, options};
use crate::app::admin::pages::form::View;
use crate::app::admin::pages::html::{
    ACTIONS, at, duration, element, facts, list_at, section, show, str_at, table, text, words,
};
use crate::app::admin::pages::{Context, told};
use crate::app::port::Port;
use crate::base::errors::Refusal;
use crate::domain::identity::roles::Role;

/// The roles that one may give.
fn roles(view: &View) -> Vec<(&'static str, &'static str)> {
    let gives = |role: &Role| view.role.is_some_and(|own| own.manages(*role));
    options(
        None,
        Role::ALL
            .iter()
            .rev()
            .filter(|role| gives(role))
            .map(|role| role.name()),
    )
}

/// Operators and invites.
pub async fn operators<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/operators").await?;
    let roles = roles(view);
    let columns = [
        ("Name", "name"),
        ("Id", "id"),
        ("Role", "role"),
        ("Since", "created_at"),
        ("By", "created_by"),
        ("Disabled", "disabled"),
        ("Actions", ACTIONS),
    ];
    let manages = |row: &Value| {
        let theirs = Role::from_name(str_at(row, "role"));
        theirs.is_some_and(|theirs| view.role.is_some_and(|own| own.manages(theirs)))
    };
    let forms = |row: &Value| {
        if !manages(row) {
            return String::new();
        }
        let (path, name) = (["/operators/", str_at(row, "id")].concat(), called(row));
        let disabled = at(row, "disabled") == &Value::Bool(true);
        let (button, change) = if disabled {
            ("Enable", "false")
        } else {
            ("Disable", "true")
        };
        [
            view.form(&["PUT ", &path, "/role"].concat())
                .hidden("_subject", name)
                .select("Role", "role", &roles, str_at(row, "role"), "")
                .end_as("Change the role", ["of ", name].concat().as_str(), "quiet"),
            view.button(
                &["PATCH ", &path].concat(),
                button,
                name,
                &[("disabled:bool", change), ("_subject", name)],
            ),
            view.button(
                &["DELETE ", &path].concat(),
                "Remove",
                name,
                &[("_subject", name)],
            ),
        ]
        .concat()
    };
    let mut out = table(
        "operators",
        &columns,
        list_at(&all, "operators"),
        &acting("id", &forms),
    );
    let invite = view
        .form("POST /operators")
        .select(
            "Role",
            "role",
            &roles,
            "support",
            "The docs say what each role may do.",
        )
        .end("Invite an operator");
    out.push_str(&section("Invite", &invite));
    let columns = [
        ("Invite", "id"),
        ("Role", "role"),
        ("By", "by"),
        ("Good until", "expires_at"),
        ("Used by", "used_by"),
        ("Actions", ACTIONS),
    ];
    let withdraw = |row: &Value| {
        let call = ["DELETE /operators/", str_at(row, "id")].concat();
        if at(row, "used_by").is_null() && manages(row) {
            view.button(
                &call,
                "Withdraw",
                str_at(row, "id"),
                &[("_subject", str_at(row, "id"))],
            )
        } else {
            String::new()
        }
    };
    let invites = table(
        "invites",
        &columns,
        list_at(&all, "invites"),
        &acting("id", &withdraw),
    );
    out.push_str(&section("Invites", &invites));
    Ok(out)
}

/// One's own sessions, or all.
pub async fn sessions<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/sessions").await?;
    let columns = [
        ("Session", "id"),
        ("Operator", "operator"),
        ("Since", "created_at"),
        ("Seen", "seen_at"),
        ("Until", "until"),
        ("Browser", "agent"),
        ("This one", "current"),
        ("Actions", ACTIONS),
    ];
    let end = |row: &Value| {
        if at(row, "current") == &Value::Bool(true) {
            return String::new();
        }
        let call = ["DELETE /sessions/", str_at(row, "id")].concat();
        view.button(&call, "End", str_at(row, "id"), &[])
    };
    Ok(table(
        "sessions",
        &columns,
        list_at(&all, "sessions"),
        &acting("id", &end),
    ))
}

/// One's own factors.
pub async fn me<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let me = told(cx, "/me").await?;
    let mut out = facts(&[
        ("Name", show(at(&me, "name"))),
        ("Operator", code(at(&me, "operator"))),
        ("Role", show(at(&me, "role"))),
        ("Tenant", show(at(&me, "tenant"))),
        ("Recovery codes left", show(at(&me, "recovery_codes_left"))),
        (
            "Second factor confirmed until",
            show(at(&me, "fresh_until")),
        ),
    ]);
    for (heading, words, call, button) in [
        (
            "Operator key",
            "A new key ends your other sessions.",
            "POST /me/key",
            "Replace my key",
        ),
        (
            "Second factor",
            "For a new authenticator. It ends your other sessions.",
            "POST /me/totp",
            "Replace my second factor",
        ),
        (
            "Recovery codes",
            "New codes make the present ones void.",
            "POST /me/recovery",
            "Make new recovery codes",
        ),
    ] {
        out.push_str(&section(heading, &view.form(call).say(words).end(button)));
    }
    Ok(out)
}

/// Snapshots, and one more.
pub async fn backups<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/backups").await?;
    let every = match at(&all, "every_hours").as_u64() {
        None | Some(0) => "never: [backup] every_hours is 0".to_owned(),
        Some(hours) => ["every ", &duration(hours.saturating_mul(3_600))].concat(),
    };
    let mut out = facts(&[
        ("Taken", every),
        ("Kept", words(at(&all, "keep")) + " snapshots"),
    ]);
    let columns = [
        ("Snapshot", "id"),
        ("Begun", "begun_at"),
        ("Ended", "ended_at"),
        ("Objects", "objects"),
        ("Rows", "rows"),
        ("Bytes", "bytes"),
        ("Usable", "usable"),
    ];
    let cell = |field: &str, row: &Value| (field == "id").then(|| code(at(row, field)));
    out.push_str(&table(
        "snapshots",
        &columns,
        list_at(&all, "backups"),
        &cell,
    ));
    let take = view
        .form("POST /backups")
        .say("What the objects keep is copied, sealed, into the bucket.")
        .end("Take a snapshot now");
    out.push_str(&section("Take one", &take));
    let back = "A snapshot is put back into a house without an owner, at /admin/restore, with ADMIN_TOKEN and the same MASTER_KEY.";
    out.push_str(&section("Put one back", &text("p", back)));
    let rewind = view
        .form("POST /rewind")
        .say("Where the platform keeps earlier states (30 days), what one owner keeps can go back to a time within them. Everybody else stays where they are.")
        .input(
            "Owner",
            "owner",
            "",
            &[("required", ""), ("maxlength", "100")],
            "A visitor's id, or key_ and the id of an API key.",
        )
        .input(
            "Back to",
            "to",
            "",
            &[("required", ""), ("maxlength", "40")],
            "UTC, as in 2026-11-22T10:00:00Z.",
        )
        .end_as("Take it back", "", "danger");
    out.push_str(&section("Take one owner back", &rewind));
    Ok(out)
}

/// Key versions, states, ages and progress.
pub async fn keyring<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let ring = told(cx, "/keyring").await?;
    let time = |field: &str| {
        at(&ring, field)
            .as_u64()
            .map_or_else(|| "–".to_owned(), duration)
    };
    let mut out = String::new();
    for warning in list_at(&ring, "warnings") {
        out.push_str(&element(
            "div",
            &[("class", "refusal")],
            &text("p", &words(warning)),
        ));
    }
    out.push_str(&facts(&[
        ("Active version", show(at(&ring, "active"))),
        ("Age", time("age_seconds")),
        ("Next rotation in", time("due_in_seconds")),
        ("Lowest version accepted", show(at(&ring, "floor"))),
        ("Wrapped by", show(at(&ring, "wrapped_by"))),
        (
            "Wrapped by the active version",
            [words(at(&ring, "rewrapped")), words(at(&ring, "of"))].join(" of ") + " keys",
        ),
    ]));
    let columns = [
        ("Version", "version"),
        ("State", "state"),
        ("For", "in_state_seconds"),
        ("Wraps", "wraps"),
        ("Actions", ACTIONS),
    ];
    let destroy = |row: &Value| {
        if str_at(row, "state") != "retired" {
            return String::new();
        }
        let version = words(at(row, "version"));
        let subject = ["Version ", &version].concat();
        view.button(
            &["DELETE /keyring/", &version].concat(),
            "Destroy",
            &subject,
            &[("_subject", &subject)],
        )
    };
    let cell = |field: &str, row: &Value| match field {
        "in_state_seconds" => at(row, field).as_u64().map(duration),
        "wraps" => Some(words(at(row, field)) + " keys"),
        _ => acting("", &destroy)(field, row),
    };
    let versions = table("versions", &columns, list_at(&ring, "versions"), &cell);
    out.push_str(&section("Key versions", &versions));
    let columns = [
        ("Data key", "id"),
        ("Purpose", "purpose"),
        ("Wrapped under", "wrapped_under"),
        ("Made", "created_at"),
        ("Verifies until", "verifies_until"),
    ];
    let keys = table(
        "data keys",
        &columns,
        list_at(&ring, "data_keys"),
        &acting("id", &|_| String::new()),
    );
    out.push_str(&section("Data keys", &keys));
    for (heading, words, call, button, class) in [
        (
            "Rotate",
            "Begins a rotation, or takes its next step: a new version is known to every reader before it is used. The cron goes on by itself.",
            "POST /keyring/rotate",
            "Rotate, or take the next step",
            "",
        ),
        (
            "Session key",
            "Replaces the key that signs visitors' sessions; the old one verifies for a while.",
            "POST /keyring/session",
            "Replace the session key",
            "",
        ),
        (
            "Export for recovery",
            "Everything, sealed to the recovery key of the configuration.",
            "POST /keyring/export",
            "Download the export",
            "",
        ),
        (
            "Emergency",
            "When a key has leaked: a new version at once, older ones refused, all sessions void.",
            "POST /keyring/emergency",
            "Emergency rotation",
            "danger",
        ),
    ] {
        let form = view.form(call).say(words).end_as(button, "", class);
        out.push_str(&section(heading, &form));
    }
    Ok(out)
}

/// Which providers have a key, and a form for a new one.
pub async fn providers<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/providers").await?;
    let rows = list_at(&all, "providers");
    let columns = [
        ("Provider", "name"),
        ("Active", "active"),
        ("Secrets it reads", "secrets"),
        ("Stored key", "stored"),
        ("By", "stored_by"),
        ("At", "stored_at"),
        ("Fault", "fault"),
        ("Actions", ACTIONS),
    ];
    let remove = |row: &Value| {
        let call = ["DELETE /providers/", str_at(row, "name"), "/key"].concat();
        if at(row, "stored") == &Value::Bool(true) {
            view.button(
                &call,
                "Remove the key",
                called(row),
                &[("_subject", called(row))],
            )
        } else {
            String::new()
        }
    };
    let mut out = table("providers", &columns, rows, &acting("", &remove));
    let names = options(None, rows.iter().map(called));
    let secret = [
        ("type", "password"),
        ("autocomplete", "off"),
        ("required", ""),
    ];
    let form = view
        .form("PUT /providers/{name}/key")
        .select("Provider", "{name}", &names, "", "")
        .input(
            "Key",
            "key",
            "",
            &secret,
            "It goes before the Worker's secret, is stored encrypted, and is never shown again.",
        )
        .end("Store the key");
    out.push_str(&section("Store a key", &form));
    Ok(out)
}

/// Flags.
pub async fn flags<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/flags").await?;
    let flags = at(&all, "flags").as_object().into_iter().flatten();
    let rows: Vec<Value> = flags
        .map(|(name, value)| serde_json::json!({"name": name, "value": value}))
        .collect();
    let mut out = table(
        "flags",
        &[("Flag", "name"), ("Value", "value")],
        &rows,
        &|_, _| None,
    );
    let form = view
        .form("PUT /flags/{name}")
        .hidden("expect:number", &words(at(&all, "version")))
        .input(
            "Flag",
            "{name}",
            "",
            &[("required", ""), ("pattern", "[^/?#]+")],
            "",
        )
        .input(
            "Value",
            "value:flag",
            "",
            &[],
            "true, false or a text. Empty: the flag is removed.",
        )
        .end("Set the flag");
    out.push_str(&section("Set a flag", &form));
    Ok(out)
}
