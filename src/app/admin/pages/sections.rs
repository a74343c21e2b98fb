//! What each page shows. A page asks the API as its operator, so that a role that may not see something is refused
//! there, and a part that its role may not see is left out.

mod house;
mod log;
mod people;
mod use_of;

use serde_json::Value;

use super::form::View;
use super::html::{ACTIONS, at, element, facts, link, list_at, section, show, str_at, text, words};
use super::{Answer, Context, Page, entrance, told};
use crate::app::port::Port;
use crate::base::errors::{Code, Refusal};

/// Every section: address below `/admin`, title, and the call that its role must be allowed.
pub const ALL: &[(&str, &str, &str)] = &[
    ("", "Overview", "GET /overview"),
    ("/alerts", "Alerts", "GET /alerts"),
    ("/keys", "API keys", "GET /keys"),
    ("/site-keys", "Site keys", "GET /site-keys"),
    ("/visitors", "Visitors", "GET /visitors/{id}"),
    ("/documents", "Documents", "GET /documents"),
    ("/limits", "Limits", "GET /limits"),
    ("/lists", "Lists and blocks", "GET /lists"),
    ("/budgets", "Budgets and spend", "GET /budgets"),
    ("/flags", "Flags", "GET /flags"),
    ("/providers", "Providers", "GET /providers"),
    ("/keyring", "Keyring", "GET /keyring"),
    ("/backups", "Backups", "GET /backups"),
    ("/audit", "Audit log", "GET /audit"),
    ("/access-review", "Access review", "GET /access-review"),
    ("/operators", "Operators", "GET /operators"),
    ("/sessions", "Sessions", "GET /sessions"),
    ("/me", "Your factors", "GET /me"),
];

/// The page at the view's address.
///
/// # Errors
/// `not_found`, and whatever the calls refuse whose answers it shows.
pub async fn page<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<Answer<P>, Refusal> {
    if let Some(page) = entrance::again(view) {
        return Ok(Answer::Page(page));
    }
    let body = match view.path.as_str() {
        "" => overview(cx).await?,
        "/alerts" => log::alerts(cx, view).await?,
        "/keys" => people::keys(cx, view).await?,
        "/site-keys" => people::site_keys(cx, view).await?,
        "/visitors" => return people::visitors(cx, view).await,
        "/documents" => people::documents(cx, view).await?,
        "/limits" => use_of::limits(cx, view).await?,
        "/lists" => use_of::lists(cx, view).await?,
        "/budgets" => use_of::budgets(cx, view).await?,
        "/flags" => house::flags(cx, view).await?,
        "/providers" => house::providers(cx, view).await?,
        "/keyring" => house::keyring(cx, view).await?,
        "/backups" => house::backups(cx, view).await?,
        "/audit" => log::audit(cx, view).await?,
        "/access-review" => log::access_review(cx, view).await?,
        "/operators" => house::operators(cx, view).await?,
        "/sessions" => house::sessions(cx, view).await?,
        "/me" => house::me(cx, view).await?,
        path => {
            let one = path.trim_start_matches('/').split_once('/');
            let page = match one {
                Some(("keys", id)) => people::key(cx, view, id).await?,
                Some(("visitors", id)) => people::visitor(cx, view, id).await?,
                _ => return Err(Refusal::new(Code::NotFound)),
            };
            return Ok(Answer::Page(page));
        }
    };
    let title = ALL
        .iter()
        .find(|(path, ..)| *path == view.path)
        .map_or("", |(_, title, _)| title);
    Ok(Answer::Page(Page::ok(title, body)))
}

async fn overview<P: Port>(cx: &Context<'_, P>) -> Result<String, Refusal> {
    let now = told(cx, "/overview").await?;
    let keyring = at(&now, "keyring");
    let log = at(&now, "audit");
    let count =
        |path: &str, number: &Value, what: &str| link(path, &[&words(number), what].concat());
    let mut rows = vec![
        (
            "Open alerts",
            count("/alerts?state=open", at(&now, "open_alerts"), " open"),
        ),
        ("Blocks", count("/lists", at(&now, "blocks"), " in force")),
        ("Site keys", count("/site-keys", at(&now, "site_keys"), "")),
        (
            "Keyring",
            [
                "Version ",
                &words(at(keyring, "active")),
                ", ",
                &words(at(keyring, "age_days")),
                " days old, ",
                &words(at(keyring, "warnings")),
                " warnings",
            ]
            .concat(),
        ),
        (
            "Audit log",
            [
                &words(at(log, "entries")),
                " entries, ",
                &match at(log, "checkpoint") {
                    Value::Null => "no checkpoint yet".to_owned(),
                    size => ["newest checkpoint at ", &words(size)].concat(),
                },
            ]
            .concat(),
        ),
        ("Tenant", show(at(&now, "tenant"))),
        (
            "Rules",
            ["Version ", &words(at(&now, "rules_version"))].concat(),
        ),
    ];
    if at(&now, "damaged_rules")
        .as_u64()
        .is_some_and(|count| count > 0)
    {
        rows.push((
            "Damaged rules",
            text("strong", &words(at(&now, "damaged_rules"))),
        ));
    }
    Ok(facts(&rows))
}

/// What an account used, as the API tells it.
fn used(used: &Value) -> String {
    let columns = [
        ("Window", "window"),
        ("Spent", "spent_usd"),
        ("Reserved", "reserved_usd"),
        ("Since", "since"),
        ("Until", "until"),
    ];
    let dollars = |field: &str, row: &Value| {
        field
            .ends_with("_usd")
            .then(|| ["$", &words(at(row, field))].concat())
    };
    let mut out = super::html::table("spend", &columns, list_at(used, "spend"), &dollars);
    let mut rows = vec![
        ("Calls that run", words(at(used, "running"))),
        ("Open reservations", words(at(used, "open_reservations"))),
    ];
    let hold = at(used, "hold");
    if !hold.is_null() {
        let until = [
            "Until ",
            &show(at(hold, "until")),
            ": ",
            &show(at(hold, "reason")),
        ]
        .concat();
        rows.push(("Held back", until));
    }
    out.push_str(&facts(&rows));
    section("Use and spend", &out)
}

/// Options of a list, from names.
fn options<'n>(
    first: Option<(&'n str, &'n str)>,
    names: impl Iterator<Item = &'n str>,
) -> Vec<(&'n str, &'n str)> {
    first
        .into_iter()
        .chain(names.map(|name| (name, "")))
        .collect()
}

/// Filters of a page that are read: a form that asks and changes nothing.
fn filters(path: &str, inner: &str, button: &str) -> String {
    let row = element(
        "div",
        &[("class", "row")],
        &element("button", &[("type", "submit"), ("class", "quiet")], button),
    );
    element(
        "form",
        &[
            ("action", &["/admin", path].concat()),
            ("class", "filters"),
            ("role", "search"),
        ],
        &[inner, &row].concat(),
    )
}

/// A field of a filter.
fn filter(label: &str, name: &str, value: &str, hint: &str) -> String {
    let id = ["q-", name].concat();
    let input = [
        ("id", id.as_str()),
        ("name", name),
        ("value", value),
        ("placeholder", hint),
    ];
    let inner = element("label", &[("for", &id)], label) + &super::html::void("input", &input);
    element("div", &[("class", "field")], &inner)
}

/// A cell with a code in it.
fn code(value: &Value) -> String {
    text("code", &words(value))
}

/// The cells of a table whose last column are forms.
fn acting<'f>(
    code_of: &'f str,
    forms: &'f dyn Fn(&Value) -> String,
) -> impl Fn(&str, &Value) -> Option<String> + 'f {
    move |field, row| match field {
        ACTIONS => Some(forms(row)),
        field if field == code_of => Some(code(at(row, field))),
        _ => None,
    }
}

/// A name, or the id where there is none.
fn called(row: &Value) -> &str {
    match str_at(row, "name") {
        "" => str_at(row, "id"),
        name => name,
    }
}
