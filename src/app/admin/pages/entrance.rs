//! Before the pages: set-up, joining, signing in.

use super::form::{Form, View, value};
use super::html::{Attributes, copyable, element, link, section, str_at, text};
use super::qr::qr;
use super::{Context, Page, RESTORE, told};
use crate::app::admin::sign_in::{admin_token, is_claimed};
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::{Code, Refusal};
use serde_json::{Value, json};

/// What a field of a code says of itself.
pub const CODE: Attributes<'static> = &[
    ("inputmode", "numeric"),
    ("autocomplete", "one-time-code"),
    ("maxlength", "12"),
    ("class", "code"),
];

const SECRET: Attributes<'static> = &[
    ("type", "password"),
    ("autocomplete", "off"),
    ("required", ""),
];

/// The way in that is open now.
///
/// # Errors
/// `storage_unavailable`
pub async fn page<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<Page, Refusal> {
    if let Some(page) = again(view) {
        return Ok(page);
    }
    if view.path == RESTORE {
        return restore(cx, view).await;
    }
    let state = told(cx, "/state").await?;
    if state.get("claimed") != Some(&Value::Bool(true)) {
        return Ok(
            if state.get("admin_token_set") == Some(&Value::Bool(true)) {
                claim(view)
            } else {
                set_up()
            },
        );
    }
    if view.path == "/join" {
        return Ok(join(view));
    }
    let mut page = sign_in(cx, view);
    if !view.path.is_empty() {
        page.why = Some(Refusal::new(Code::InvalidCredentials));
    }
    Ok(page)
}

/// A form of the second step that was refused, with what it needs.
#[must_use]
pub fn again(view: &View) -> Option<Page> {
    let (pairs, _) = view.failed.as_ref()?;
    let field = |name| value(pairs, name).unwrap_or_default();
    let shown = json!({
        "enrolment": value(pairs, "enrolment")?,
        "operator_key": field("_operator_key"),
        "totp_secret": field("_totp_secret"),
        "totp_uri": field("_totp_uri"),
    });
    Some(enrolment_page(view, field("call"), &shown))
}

fn set_up() -> Page {
    let steps = [
        "Make a secret of at least 16 random characters: openssl rand -base64 24",
        "Locally, put it into the file .dev.vars as a line ADMIN_TOKEN=… and start again. Deployed, run npx wrangler secret put ADMIN_TOKEN.",
        "Open this page again: it will ask for the secret and make you the owner.",
    ];
    let steps: String = steps.iter().map(|step| text("li", step)).collect();
    Page {
        why: Some(Refusal::new(Code::SetupRequired)),
        title: "Set up administration".to_owned(),
        body: text(
            "p",
            "Nobody can sign in yet: the secret ADMIN_TOKEN is not set or has fewer than 16 characters, and without it nobody can become the owner.",
        ) + &element("ol", &[], &steps),
    }
}

fn claim(view: &View) -> Page {
    let body = view
        .form("POST /claim")
        .say("This house has no owner. Whoever knows the secret ADMIN_TOKEN becomes the first one.")
        .input("ADMIN_TOKEN", "token", "", SECRET, "")
        .input(
            "Your name",
            "name",
            "",
            NAME,
            "Other operators and the audit log know you by it.",
        )
        .end("Go on");
    let back = [
        "Were its objects lost? ",
        &link(RESTORE, "Put a snapshot back"),
        " before anybody claims it.",
    ]
    .concat();
    Page::ok("Claim this house", body + &element("p", &[], &back))
}

/// The form that puts a snapshot back into a house without an owner, or goes on with that.
async fn restore<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<Page, Refusal> {
    let claimed = match rules(cx.port).await {
        // A house that is half-way back cannot be asked who owns it.
        Err(refusal) if refusal.code == Code::HouseRestoring => false,
        _ => is_claimed(cx).await?,
    };
    let title = "Put a snapshot back";
    if claimed {
        let words = text(
            "p",
            "This house has an owner: no snapshot is put in its place.",
        );
        let mut page = Page::ok(title, words + &element("p", &[], &link("", "Sign in")));
        page.why = Some(Refusal::new(Code::Conflict));
        return Ok(page);
    }
    if admin_token(cx).is_none() {
        return Ok(set_up());
    }
    let body = view
        .form("POST /restore")
        .say("For a house whose objects are lost, or a new deployment over the same bucket, with the same MASTER_KEY. Until everything is back, nothing is served.")
        .input("ADMIN_TOKEN", "token", "", SECRET, "")
        .input(
            "Snapshot",
            "snapshot",
            "",
            &[("autocomplete", "off"), ("spellcheck", "false")],
            "Its id. Leave it empty to see which there are.",
        )
        .check(
            "Discard what came into this house since its objects were lost",
            "discard:bool",
            "true",
            false,
        )
        .end("Put it back");
    Ok(Page::ok(title, body))
}

const NAME: Attributes<'static> = &[
    ("autocomplete", "name"),
    ("required", ""),
    ("maxlength", "80"),
];

fn join(view: &View) -> Page {
    let body = view
        .form("POST /join")
        .say("You have been given an invite. It is good once.")
        .input("Invite", "invite", "", SECRET, "")
        .input(
            "Your name",
            "name",
            "",
            NAME,
            "Other operators and the audit log know you by it.",
        )
        .end("Go on");
    Page::ok("Join as an operator", body)
}

fn sign_in<P: Port>(cx: &Context<'_, P>, view: &View) -> Page {
    let key = [
        ("type", "password"),
        ("autocomplete", "current-password"),
        ("required", ""),
    ];
    let recovery = Form::markup;
    let mut form = view.form("POST /sign-in");
    // For password managers, which keep a secret under a name.
    form = form.markup(&super::html::void(
        "input",
        &[
            ("type", "text"),
            ("name", "_username"),
            ("value", &cx.head.own_origin),
            ("autocomplete", "username"),
            ("hidden", ""),
        ],
    ));
    form = form
        .input("Operator key", "key", "", &key, "It begins with gho_.")
        .input(
            "Code",
            "code",
            "",
            CODE,
            "Six digits, from your authenticator.",
        );
    form = recovery(
        form,
        "<details><summary>Without your authenticator</summary>",
    );
    form = form.input(
        "Recovery code",
        "recovery_code",
        "",
        &[("autocomplete", "off"), ("spellcheck", "false")],
        "Instead of the six digits. Each one is good once.",
    );
    let mut body = recovery(form, "</details>").end("Sign in");
    body.push_str(&element(
        "p",
        &[],
        &["Invited? ", &link("/join", "Join with your invite"), "."].concat(),
    ));
    if cx.head.fetch_site.as_deref() == Some("cross-site") {
        // The session's cookie does not come along from another site.
        let words = link(&view.path, "Open this page again");
        let words = [
            "You came from another site. ",
            &words,
            ": you may be signed in already.",
        ]
        .concat();
        body = element("p", &[("class", "note")], &words) + &body;
    }
    Page::ok("Sign in", body)
}

/// The second step of claiming and joining, and of a new second factor: what to keep, and a code that proves it.
pub fn enrolment_page(view: &View, call: &str, shown: &Value) -> Page {
    let key = str_at(shown, "operator_key");
    let secret = str_at(shown, "totp_secret");
    let uri = str_at(shown, "totp_uri");
    let mut body = String::new();
    if !key.is_empty() {
        let keep = text(
            "p",
            "You sign in with it. It is shown now and never again: keep it in a password manager.",
        );
        body.push_str(&section(
            "1. Keep your operator key",
            &(keep + &copyable("Operator key", key)),
        ));
    }
    let mut add = text(
        "p",
        "Let an authenticator read the code, or type the secret: by time, SHA-1, 6 digits, 30 seconds.",
    );
    if uri.starts_with("otpauth://") {
        add.extend(qr("QR code of the secret that follows as text", uri));
    }
    add.push_str(&copyable("Secret", &grouped(secret)));
    if uri.starts_with("otpauth://") {
        let open = element(
            "a",
            &[("href", uri)],
            "Open in an authenticator on this device",
        );
        add.push_str(&element("p", &[], &open));
    }
    body.push_str(&section(
        if key.is_empty() {
            "1. Add the secret"
        } else {
            "2. Add the second factor"
        },
        &add,
    ));
    let form = view
        .form(call)
        .hidden("enrolment", str_at(shown, "enrolment"))
        // For this page alone, should the code be wrong.
        .hidden("_operator_key", key)
        .hidden("_totp_secret", secret)
        .hidden("_totp_uri", uri)
        .input(
            "Code",
            "code",
            "",
            CODE,
            "Six digits. It proves that the authenticator works.",
        )
        .end("Go on");
    body.push_str(&section(
        if key.is_empty() {
            "2. Prove it"
        } else {
            "3. Prove it"
        },
        &form,
    ));
    Page::ok("Your factors", body)
}

/// Recovery codes, once; `onward` leads on.
pub fn recovery_page(codes: &[Value], onward: &str) -> Page {
    let lines: Vec<String> = codes.iter().map(super::html::words).collect();
    let keep = text(
        "p",
        "Each of these codes stands in for your authenticator once. They are shown now and never again: print them, or keep them apart from the operator key.",
    );
    let kept = [
        super::html::void("input", &[("type", "checkbox"), ("required", "")]),
        text("span", "I have kept them"),
    ]
    .concat();
    let form = [
        element("label", &[("class", "check")], &kept),
        element(
            "div",
            &[("class", "row")],
            &element("button", &[("type", "submit")], "Go on"),
        ),
    ]
    .concat();
    let form = element("form", &[("action", onward), ("class", "stack")], &form);
    Page::ok(
        "Recovery codes",
        keep + &copyable("Recovery codes", &lines.join("\n")) + &form,
    )
}

/// Groups of four, which are easier to type.
fn grouped(secret: &str) -> String {
    let mut out = String::new();
    for (i, c) in secret.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn a_secret_is_grouped_by_four() {
        assert_eq!(grouped("ABCDEFGHIJ"), "ABCD EFGH IJ");
        assert_eq!(grouped("ABCD"), "ABCD");
        assert_eq!(grouped(""), "");
    }
}
