//! After a form: a question before what is dangerous, and the answer of a call.

use serde_json::Value;

use super::entrance::{CODE, enrolment_page, recovery_page};
use super::form::{Pairs, View, value};
use super::frame::REFUSAL;
use super::html::{at, copyable, element, facts, link, list_at, show, str_at, text, words};
use super::{Answer, Context, Page, Told, back};
use crate::app::admin::session_cookie;
use crate::app::port::Port;
use crate::base::errors::Refusal;
use crate::domain::admin::{Call, Endpoint};

/// What a dangerous call will do, and the words of its button.
#[must_use]
pub const fn danger(call: Call) -> Option<(&'static str, &'static str)> {
    Some(match call {
        Call::KeyRevoke => (
            "The key opens nothing from the next request on, its old secret neither. This cannot be undone.",
            "Revoke the key",
        ),
        Call::SiteKeyRemove => (
            "Pages with this key begin no new sessions. Sessions that they have last until they expire, and are not renewed. This can be undone.",
            "Remove the site key",
        ),
        Call::VisitorRevoke => (
            "Every session of this visitor ends now, on every device. This cannot be undone; the visitor can begin a new one.",
            "End the sessions",
        ),
        Call::VisitorsRevokeAll => (
            "Every session of every visitor that was issued so far ends now. Pages begin new ones by themselves. This cannot be undone.",
            "End all sessions",
        ),
        Call::OperatorChange => (
            "Whoever is disabled loses their sessions, and their key opens nothing until somebody enables them again; whoever is enabled can sign in.",
            "Go on",
        ),
        Call::OperatorRole => (
            "The operator may do from now on what the new role may. An owner may do everything, and can remove the other owners, you among them.",
            "Change the role",
        ),
        Call::BudgetSet => (
            "Calls that the new budget does not cover are refused from now on; where there is no budget, nothing bounds what calls cost. This can be undone.",
            "Change the budget",
        ),
        Call::OperatorRemove => (
            "The operator's sessions end, and the operator key opens nothing any more; an invite is withdrawn. This cannot be undone.",
            "Remove",
        ),
        Call::KeyringSession => (
            "New sessions are signed with a new key. The old key verifies those that there are until it is void.",
            "Replace the key",
        ),
        Call::KeyringEmergency => (
            "A new key version is used at once, older ones are no longer accepted, everything is wrapped anew, and every visitor's session ends. Do this when a key has leaked. This cannot be undone.",
            "Rotate now",
        ),
        Call::KeyringDestroy => (
            "The key material of this version is deleted. Whatever is still wrapped by it, in a backup for example, can never be read again.",
            "Destroy the version",
        ),
        Call::ProviderKeyRemove => (
            "Calls to this provider use the Worker's secret again, or fail where there is none. The stored key cannot be shown or brought back.",
            "Remove the key",
        ),
        Call::Erase => (
            "The visitor's documents and stored answers are deleted, the sessions end, and the visitor's name is taken out of the audit log, whose proofs stay valid. Use and spend stay as numbers under an id that names nobody any more. This cannot be undone.",
            "Erase the data",
        ),
        Call::Rewind => (
            "What this owner keeps (documents, conversations, memories, vector stores) goes back to that time. What came since is away; documents whose content was deleted since stay away.",
            "Take it back",
        ),
        Call::DocumentRelease => (
            "Whoever may read the document, models among them, can do so from now on, whatever its scan found. It can be deleted afterwards, and not held back again.",
            "Release the version",
        ),
        Call::DocumentUnhold => (
            "The document goes when its owner deletes it or its date is over, at once where that was asked for before.",
            "End the hold",
        ),
        Call::DocumentRemove => (
            "The document is deleted with all its versions and comments, for its owner and everybody with whom it is shared. This cannot be undone.",
            "Delete the document",
        ),
        Call::OwnKey => (
            "You get a new operator key, which is shown once. The present one opens nothing any more, and your other sessions end.",
            "Replace my key",
        ),
        Call::OwnRecovery => (
            "You get new recovery codes, which are shown once. The present ones are void.",
            "Make new codes",
        ),
        _ => return None,
    })
}

/// What a call did.
#[must_use]
pub const fn done(call: Call) -> &'static str {
    match call {
        Call::SignIn => "You are signed in.",
        Call::SignOut => "You are signed out.",
        Call::Confirm => "Your second factor is confirmed.",
        Call::OwnTotp => "Your second factor is replaced. Your other sessions have ended.",
        Call::KeyChange => "The key is changed.",
        Call::KeyRevoke => "The key is revoked.",
        Call::SiteKeyCreate => "The site key is made.",
        Call::SiteKeyChange => "The site key is changed.",
        Call::SiteKeyRemove => "The site key is removed.",
        Call::VisitorRevoke => "The visitor's sessions have ended.",
        Call::VisitorsRevokeAll => "All visitors' sessions have ended.",
        Call::LimitSet => "The limits are changed.",
        Call::LimitClear => "What is configured applies again.",
        Call::ListsSet => "The lists are changed.",
        Call::BlockAdd => "The block is in force.",
        Call::BlockRemove => "The block is lifted.",
        Call::BudgetSet => "The budget is changed.",
        Call::FlagSet => "The flag is set.",
        Call::AlertSeen => "The alert is acknowledged.",
        Call::AlertUndo => "What the alert brought about is lifted.",
        Call::OperatorChange | Call::OperatorRole => "The operator is changed.",
        Call::OperatorRemove => "The operator or invite is removed.",
        Call::SessionEnd => "The session has ended.",
        Call::KeyringRotate => "The step of the rotation is taken.",
        Call::KeyringSession => "The key that signs sessions is replaced.",
        Call::KeyringEmergency => "The emergency rotation is done, and all sessions are void.",
        Call::KeyringDestroy => "The version is destroyed.",
        Call::ProviderKeySet => "The provider's key is stored.",
        Call::ProviderKeyRemove => "The provider's key is removed.",
        Call::Erase => "The visitor's data is erased.",
        Call::DocumentRelease => "The version is released.",
        Call::DocumentHold => "The document is held.",
        Call::DocumentUnhold => "The hold has ended.",
        Call::DocumentRemove => "The document is deleted.",
        Call::BackupTake => "The snapshot is taken.",
        _ => "Done.",
    }
}

/// Asks whether it is meant, or for a code of the second factor, or both; the form waits in hidden fields.
pub fn confirmation(
    view: &View,
    endpoint: &Endpoint,
    pairs: &Pairs,
    stale: bool,
    wrong: Option<&Refusal>,
) -> Page {
    let danger = danger(endpoint.call);
    let call = value(pairs, "call").unwrap_or_default();
    let mut form = view.form(call);
    for (name, value) in pairs {
        if !matches!(name.as_str(), "call" | "sure" | "totp") {
            form = form.hidden(name, value);
        }
    }
    form = form
        .hidden("sure", "yes")
        .markup(&element("p", &[("class", "lede")], endpoint.text));
    let subject = pairs.iter().find(|(name, _)| name == "_subject");
    if let Some((_, subject)) = subject {
        form = form.markup(&element("p", &[], &text("strong", subject)));
    }
    if let Some((what, _)) = danger {
        form = form.say(what);
    }
    if let Some(refusal) = wrong {
        let wait = refusal
            .wait
            .map(|wait| super::html::duration(wait.secs_ceil().max(1)));
        let words = match &wait {
            Some(wait) => ["Too many codes were wrong. Try again in ", wait, "."].concat(),
            None => "The code is wrong, or was used already. Wait for the next one.".to_owned(),
        };
        let code = text("code", refusal.code.entry().code);
        let words =
            text("p", &words) + &element("p", &[("class", "meta")], &["Code ", &code].concat());
        form = form.markup(&element("div", REFUSAL, &words));
    }
    if stale {
        form = form.input(
            "Code of your second factor",
            "totp",
            "",
            CODE,
            "This needs a code that was confirmed lately.",
        );
    }
    let (words, class) = danger.map_or(("Confirm and go on", ""), |(_, words)| (words, "danger"));
    let cancel = element("p", &[], &link(&view.path, "Go back, and change nothing"));
    let title = if danger.is_some() {
        "Is this what you mean?"
    } else {
        "Confirm that it is you"
    };
    Page {
        title: title.to_owned(),
        body: form.end_as(words, "", class) + &cancel,
        why: wrong.cloned(),
    }
}

/// The answer to a form that was carried out.
pub fn answer<P: Port>(
    cx: &Context<'_, P>,
    view: &View,
    call: Call,
    pairs: &Pairs,
    told: Told,
) -> Result<Answer<P>, Refusal> {
    let said = |name| value(pairs, name).unwrap_or_default();
    let told = match told {
        Told::Session(_, session) => {
            let reply = back(
                cx,
                if session.is_some() { &view.path } else { "" },
                call,
                &Value::Null,
                &Value::Null,
            );
            let cookie = session_cookie(cx.head, session.as_ref());
            return Ok(Answer::Reply(reply.header("set-cookie", cookie)));
        }
        file @ Told::File { .. } => return Ok(Answer::Reply(cx.reply(file))),
        Told::Json(value) | Told::Created(value) => value,
    };
    let once = |title: &str, what: &str, field: &str, more: &str| {
        let words = text("p", what);
        Page::ok(title, words + &copyable(title, str_at(&told, field)) + more)
    };
    let has = |field: &str| told.get(field).is_some();
    let page = match call {
        Call::KeyCreate | Call::KeyRotate => {
            let id = str_at(&told, "id");
            let overlap = match at(&told, "overlap_until") {
                Value::Null => String::new(),
                until => [
                    "<p>The old secret is good until ",
                    &super::html::show(until),
                    ".</p>",
                ]
                .concat(),
            };
            let onward = element("p", &[], &link(&["/keys/", id].concat(), "To the key"));
            once(
                "API key",
                "It is shown now and never again: keep it where its program will read it.",
                "key",
                &(overlap + &onward),
            )
        }
        Call::OperatorInvite => {
            let join = [
                &escape_of(&told, "join_url"),
                ", with their own authenticator at hand",
            ]
            .concat();
            let more = [
                "<p>They join at ",
                &join,
                ".</p><p>",
                &link("/operators", "To the operators"),
                "</p>",
            ]
            .concat();
            once(
                "Invite",
                "Give it to its person by a way that you trust. It is shown now and never again; it is good once, for 24 hours.",
                "invite",
                &more,
            )
        }
        Call::OwnKey => {
            let more = element("p", &[], &link("/me", "I have kept it"));
            once(
                "Operator key",
                "You sign in with it from now on. It is shown now and never again: keep it in a password manager.",
                "operator_key",
                &more,
            )
        }
        Call::Claim | Call::Join | Call::OwnTotp if has("enrolment") => {
            enrolment_page(view, said("call"), &told)
        }
        Call::Claim | Call::Join => recovery_page(list_at(&told, "recovery_codes"), "/admin"),
        Call::OwnRecovery => recovery_page(list_at(&told, "recovery_codes"), "/admin/me"),
        Call::AuditVerify => verdict(view, said("checkpoint"), &told),
        Call::BackupTake if !is_done(&told) => half_taken(view, &told),
        Call::Restore => restored(view, pairs, &told),
        Call::Rewind => rewound(&told),
        _ => {
            let reply = back(
                cx,
                &view.path,
                call,
                at(&told, "undo"),
                at(&told, "version"),
            );
            return Ok(Answer::Reply(reply));
        }
    };
    Ok(Answer::Page(page))
}

fn escape_of(told: &Value, field: &str) -> String {
    crate::domain::page::escape(str_at(told, field))
}

fn is_done(told: &Value) -> bool {
    at(told, "done") == &Value::Bool(true)
}

/// A snapshot of a large house is taken in parts.
fn half_taken(view: &View, told: &Value) -> Page {
    let objects = [&words(at(told, "objects")), " objects are in it so far."].concat();
    let body = text("p", &objects)
        + &view.form("POST /backups").end("Go on")
        + &text("p", "Left alone, the cron goes on with it.");
    Page::ok("The snapshot is not whole yet", body)
}

/// What an owner keeps now.
fn rewound(told: &Value) -> Page {
    let kept = |field: &str| match at(told, field) {
        Value::Null => "as they were then".to_owned(),
        why => ["as they are now: ", &words(why)].concat(),
    };
    let body = facts(&[
        ("Owner", words(at(told, "owner"))),
        ("As of", words(at(told, "to"))),
        ("Documents", words(at(told, "documents"))),
        ("Documents that are gone", words(at(told, "documents_gone"))),
        ("Conversations and memories", kept("memory_kept")),
        ("Vector stores", kept("stores_kept")),
    ]);
    Page::ok("It is taken back", body)
}

/// How far a restore is; the form that goes on carries what the first one said.
fn restored(view: &View, pairs: &Pairs, told: &Value) -> Page {
    let said = |name| value(pairs, name).unwrap_or_default();
    let mut rows = vec![
        ("Snapshot", text("code", str_at(told, "snapshot"))),
        ("Begun at", show(at(told, "begun_at"))),
    ];
    if is_done(told) {
        let gone = at(told, "documents_gone");
        rows.push(("Documents deleted since then", words(gone)));
        let onward = element("p", &[], &link("", "Sign in"));
        return Page::ok("The house is back", facts(&rows) + &onward);
    }
    for (label, field) in [("Looked through", "checked"), ("Put back", "restored")] {
        if let Some(pieces) = at(told, field).as_u64() {
            let all = words(at(told, "of"));
            rows.push((
                label,
                [&pieces.to_string(), " of ", &all, " pieces"].concat(),
            ));
        }
    }
    let form = view
        .form("POST /restore")
        .hidden("token", said("token"))
        .hidden("snapshot", str_at(told, "snapshot"))
        .hidden("discard:bool", said("discard:bool"))
        .end("Go on");
    Page::ok("The house is not whole yet", facts(&rows) + &form)
}

/// What holding the log against a checkpoint came to.
fn verdict(view: &View, checkpoint: &str, told: &Value) -> Page {
    let good = matches!(str_at(told, "verdict"), "consistent" | "more");
    let words = text("p", &["Verdict: ", str_at(told, "verdict")].concat())
        + &text("p", str_at(told, "text"));
    let attributes = [
        ("class", if good { "note" } else { "refusal" }),
        ("role", if good { "status" } else { "alert" }),
    ];
    let mut body = element("div", &attributes, &words);
    if let Some(cursor) = told.get("cursor") {
        let form = view
            .form("POST /audit/verify")
            .hidden("checkpoint", checkpoint)
            .hidden("cursor:json", &cursor.to_string());
        body.push_str(&form.end("Go on"));
    }
    body.push_str(&element("p", &[], &link("/audit", "To the audit log")));
    Page::ok("Verification", body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{View, danger, restored};
    use crate::domain::admin::{Access, Call, ENDPOINTS};

    /// What wants a fresh code and yet does not ask first.
    const NOT_ASKED: &[Call] = &[
        // Its second step asks for a code of the new authenticator.
        Call::OwnTotp,
        // Something new, which takes nothing from anybody and can be withdrawn.
        Call::KeyCreate,
        Call::SiteKeyCreate,
        Call::OperatorInvite,
        Call::BackupTake,
        // The form shows what stands; it can be set back, most of it by one button.
        Call::KeyChange,
        Call::SiteKeyChange,
        Call::ListsSet,
        Call::BlockAdd,
        Call::BlockRemove,
        // The old one is good for a while.
        Call::KeyRotate,
        Call::KeyringRotate,
        // It takes nothing from anybody, and can be ended.
        Call::DocumentHold,
        // A provider's key is replaced by whoever has another one.
        Call::ProviderKeySet,
        // They change nothing.
        Call::KeyringExport,
        Call::AuditExport,
    ];

    #[test]
    fn what_asks_first_wants_a_fresh_code_and_the_reverse() {
        for endpoint in ENDPOINTS {
            let call = endpoint.call;
            let fresh = matches!(endpoint.access, Access::Right(action) if action.fresh());
            let asks = danger(call).is_some();
            assert_eq!(fresh, asks || NOT_ASKED.contains(&call), "{call:?}");
            assert!(!asks || !NOT_ASKED.contains(&call), "{call:?}");
        }
    }

    #[test]
    fn a_restore_that_is_not_whole_goes_on_with_what_was_said_first() {
        let view = View::new("/restore".into(), None);
        let pairs: Vec<(String, String)> = [
            ("call", "POST /restore"),
            ("token", "a \"quoted\" token"),
            ("snapshot", "snap_0"),
            ("discard:bool", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut told = json!({
            "done": false, "checked": null, "restored": 3, "of": 70, "snapshot": "snap_1",
            "begun_at": "2026-01-02T03:04:05Z", "documents_gone": null,
        });
        let page = restored(&view, &pairs, &told);
        for wanted in [
            "3 of 70 pieces",
            "value=\"a &quot;quoted&quot; token\"",
            "name=\"snapshot\" value=\"snap_1\"",
            "name=\"discard:bool\" value=\"true\"",
            "Go on",
        ] {
            assert!(page.body.contains(wanted), "{wanted} in {}", page.body);
        }
        told["done"] = true.into();
        told["documents_gone"] = 2.into();
        let page = restored(&view, &pairs, &told);
        assert!(!page.body.contains("token"), "{}", page.body);
        assert!(page.body.contains('2') && !page.body.contains("<form"));
    }
}
