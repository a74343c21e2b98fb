//! Around each page: template, navigation, what the last form did, and what undoes it.

use serde_json::{Map, Value};

use super::form::View;
use super::html::{Attributes, duration, element, str_at, text};
use super::{Context, Page, result, sections};
use crate::app::port::Port;
use crate::app::reply::{Outcome, Reply};
use crate::base::digest::{base64url, from_base64url};
use crate::base::errors::{Code, Refusal};
use crate::base::headers::CONTENT_SECURITY_POLICY;
use crate::domain::admin::{Call, ENDPOINTS};
use crate::domain::limits::headers::retry;
use crate::domain::page::{escape, fill};

/// Attributes of the words that refuse something: the browser moves to them, and readers are told.
pub(super) const REFUSAL: Attributes<'static> = &[
    ("class", "refusal"),
    ("id", "error"),
    ("role", "alert"),
    ("tabindex", "-1"),
    ("autofocus", ""),
];

/// The page that the site's builder makes; `<!--gatehouse:NAME-->` marks the places to fill.
const TEMPLATE: &str = "/gatehouse/admin";
/// Where the template cannot be read.
const BARE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title><!--gatehouse:title--></title>\
<!--gatehouse:nav--><h1><!--gatehouse:title--></h1><!--gatehouse:body--></html>";

/// Keeps what the last form did and what undoes it, for as long as [`NOTICE_SECONDS`].
const NOTICE: &str = "__Host-gatehouse-notice";
const NOTICE_PLAIN: &str = "gatehouse-notice";
/// 5 min × 60 s.
const NOTICE_SECONDS: &str = "300";
/// Browsers keep at least 4096 bytes of a cookie (RFC 6265 §6.1); its name and attributes are among them.
const MAX_NOTICE: usize = 3800;
/// A refusal: its cause and its way out before its code.
pub fn refused<P: Port>(cx: &Context<'_, P>, refusal: &Refusal) -> String {
    let entry = refusal.code.entry();
    let mut body = element("p", &[], &text("strong", entry.en.title));
    // The catalogue's advice for it is meant for calls of a model.
    let fix = match refusal.code {
        Code::InvalidCredentials => {
            "Check the key and the code. Each code is good once: wait for the next one."
        }
        _ => entry.en.fix,
    };
    for words in refusal.detail.as_deref().into_iter().chain([fix]) {
        body.push_str(&text("p", words));
    }
    if let Some(wait) = refusal.wait {
        let wait = duration(wait.secs_ceil().max(1));
        body.push_str(&text("p", &["Try again in ", &wait, "."].concat()));
    }
    let more = element(
        "a",
        &[("href", &["/docs/errors/", entry.code].concat())],
        &text("code", entry.code),
    );
    let meta = [
        "Code ",
        &more,
        " · Request id ",
        &text("code", &cx.caller.request_id),
    ]
    .concat();
    body.push_str(&element("p", &[("class", "meta")], &meta));
    element("div", REFUSAL, &body)
}

/// Puts a page into its frame: navigation, notice, template, headers.
pub async fn framed<P: Port>(cx: &Context<'_, P>, view: &View, page: Page) -> Reply<P> {
    let template = match cx.port.asset(TEMPLATE).await {
        Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
        _ => String::new(),
    };
    let template = if template.is_empty() { BARE } else { &template };
    let body = notice(cx, view) + &page.body;
    let title = escape(&page.title);
    let values = [
        ("title", title.as_str()),
        ("nav", &nav(cx, view)),
        ("body", &body),
    ];
    let status = page
        .why
        .as_ref()
        .map_or(200, |refusal| refusal.code.entry().status);
    let mut reply = Reply::status(status)
        .header("content-type", "text/html; charset=utf-8")
        .header("content-language", "en")
        .header("cache-control", "no-store")
        .header("content-security-policy", CONTENT_SECURITY_POLICY)
        // With `no-referrer` a browser would send its forms with `Origin: null`.
        .header("referrer-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin")
        .header("cross-origin-opener-policy", "same-origin")
        .bytes(fill(template, &values));
    if let Some(refusal) = &page.why {
        reply.outcome = Outcome::of(refusal);
        reply = reply.headers(refusal.wait.map(retry).unwrap_or_default());
    }
    reply
}

fn nav<P: Port>(cx: &Context<'_, P>, view: &View) -> String {
    let Some(standing) = &cx.standing else {
        return String::new();
    };
    let mut items = String::new();
    for (path, title, call) in sections::ALL {
        if !view.may(call) {
            continue;
        }
        let address = ["/admin", path].concat();
        let below = [path, "/"].concat();
        let here = view.path == *path || (!path.is_empty() && view.path.starts_with(&below));
        let current = if view.path == *path { "page" } else { "true" };
        let attributes = [("href", address.as_str()), ("aria-current", current)];
        let attributes = if here {
            &attributes[..]
        } else {
            &attributes[..1]
        };
        items.push_str(&element(
            "li",
            &[],
            &element("a", attributes, &escape(title)),
        ));
    }
    let role = [", ", standing.role.name(), " of ", cx.port.tenant()].concat();
    let who = text("strong", &standing.name) + &escape(&role);
    let who = element("p", &[("class", "who")], &who);
    let out = view.button("POST /sign-out", "Sign out", "", &[]);
    let list = element("ul", &[], &items);
    element(
        "nav",
        &[("class", "contents"), ("aria-label", "Administration")],
        &(list + &who + &out),
    )
}

/// What the last form did, from a fixed list of words, and what undoes it. The browser must have kept it: no link can
/// tell of what was not done.
fn notice<P: Port>(cx: &Context<'_, P>, view: &View) -> String {
    if cx.head.method == "POST" {
        return String::new();
    }
    let (Some(name), Some(kept)) = (cx.head.query_value("notice"), kept(cx)) else {
        return String::new();
    };
    let (did, undo) = kept.split_once('\n').unwrap_or((&kept, ""));
    let done = ENDPOINTS
        .iter()
        .find(|endpoint| did == name && format!("{:?}", endpoint.call) == name);
    let Some(endpoint) = done else {
        return String::new();
    };
    let mut inner = text("p", result::done(endpoint.call));
    if cx.standing.is_some()
        && let Some((call, body)) = undo.split_once('\n')
    {
        inner.push_str(&view.button(call, "Undo", "", &[("*:json", body)]));
    }
    element(
        "div",
        &[("class", "note notice"), ("role", "status")],
        &inner,
    )
}

const fn notice_cookie(https: bool) -> &'static str {
    if https { NOTICE } else { NOTICE_PLAIN }
}

/// What the browser kept of the last form: what it did, and a call and its body that undo it, each in a line.
fn kept<P: Port>(cx: &Context<'_, P>) -> Option<String> {
    let name = notice_cookie(cx.head.https());
    let mut cookies = cx.head.cookie.as_deref()?.split(';');
    let kept = cookies.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
    String::from_utf8(from_base64url(kept)?).ok()
}

/// Back to the page, with a notice and what undoes the change.
pub fn back<P: Port>(
    cx: &Context<'_, P>,
    path: &str,
    call: Call,
    undo: &Value,
    version: &Value,
) -> Reply<P> {
    let address = format!("/admin{path}?notice={call:?}");
    let secure = if cx.head.https() { "; Secure" } else { "" };
    let did = format!("{call:?}");
    let kept = undo_text(undo, version)
        .map(|undo| base64url([&did, "\n", &undo].concat().as_bytes()))
        .filter(|text| text.len() <= MAX_NOTICE)
        .unwrap_or_else(|| base64url(did.as_bytes()));
    let cookie = [
        notice_cookie(cx.head.https()),
        "=",
        &kept,
        "; Path=/; Max-Age=",
        NOTICE_SECONDS,
        "; HttpOnly; SameSite=Strict",
        secure,
    ];
    Reply::status(303)
        .header("location", address)
        .header("cache-control", "no-store")
        .header("set-cookie", cookie.concat())
}

fn undo_text(undo: &Value, version: &Value) -> Option<String> {
    let path = str_at(undo, "path").strip_prefix("/api/admin")?;
    let mut body = undo
        .get("body")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    // Not over what somebody changed meanwhile.
    body.as_object_mut()?
        .insert("expect".to_owned(), version.clone());
    Some([str_at(undo, "method"), " ", path, "\n", &body.to_string()].concat())
}
