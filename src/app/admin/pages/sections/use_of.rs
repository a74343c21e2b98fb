//! How much may be used: limits, budgets, lists and blocks.

use serde_json::{Value, json};

use super::acting;
use crate::app::admin::pages::form::{Form, View, encoded};
use crate::app::admin::pages::html::{
    ACTIONS, allowance, at, element, link, list_at, section, show, str_at, table, text, words,
};
use crate::app::admin::pages::{Context, told};
use crate::app::port::Port;
use crate::base::errors::Refusal;
use crate::domain::identity::roles::Action;

const CLASSES: [(&str, &str); 4] = [
    ("read", ""),
    ("chat", ""),
    ("embeddings", ""),
    ("upload", ""),
];
const SCOPE_HINT: &str =
    "global, tenant, visitor, or one of visitor/, key/, tier/ and alias/ with a name.";
const NUMBER: &[(&str, &str)] = &[("type", "number"), ("min", "1"), ("step", "1")];
const DOLLARS: &[(&str, &str)] = &[("type", "number"), ("min", "0"), ("step", "any")];

/// What applies: configured and overridden.
pub async fn limits<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/limits").await?;
    let version = words(at(&all, "version"));
    let rows = scopes(&all);
    let columns = [
        ("Scope", "scope"),
        ("Applies", "now"),
        ("From", "from"),
        ("Actions", ACTIONS),
    ];
    let forms = |row: &Value| {
        let scope = encoded(str_at(row, "scope"));
        let mut out = String::new();
        if view.may("PUT /limits") {
            out.push_str(&link(
                &["/limits?scope=", &scope, "#change"].concat(),
                "Change",
            ));
        }
        if str_at(row, "from") != "configuration" {
            out.push_str(&view.button(
                &["DELETE /limits?scope=", &scope].concat(),
                "Clear",
                str_at(row, "scope"),
                &[],
            ));
        }
        out
    };
    let cell = |field: &str, row: &Value| match field {
        "now" => Some(allowance(at(row, "now"))),
        _ => acting("scope", &forms)(field, row),
    };
    let mut out = table("limits", &columns, &rows, &cell);
    let asked = cx
        .head
        .query_value("scope")
        .or_else(|| view.said("scope"))
        .unwrap_or_default();
    let now = rows
        .iter()
        .find(|row| str_at(row, "scope") == asked)
        .map_or(&Value::Null, |row| at(row, "now"));
    if asked.starts_with("limit/") {
        let mut form = view
            .form("PUT /limits")
            .hidden("expect:number", &version)
            .input("Scope", "scope", &asked, &[("readonly", "")], "");
        form = form.hidden("limit.class", str_at(now, "class"));
        for (name, label) in [
            ("burst", "One client, in a burst"),
            ("sustained", "One client, over a longer time"),
            ("network_burst", "Its network, in a burst"),
            ("network_sustained", "Its network, over a longer time"),
        ] {
            form = window(form, label, &["limit.", name].concat(), at(now, name));
        }
        out.push_str(&anchored(&section("Change", &form.end("Save"))));
        return Ok(out);
    }
    let mut form = view
        .form("PUT /limits")
        .hidden("expect:number", &version)
        // An allowance without anything is an object too.
        .hidden("allowance:json", "{}")
        .input("Scope", "scope", &asked, &[("required", "")], SCOPE_HINT);
    for (i, (class, _)) in CLASSES.iter().enumerate() {
        let place = ["allowance.requests.", &i.to_string()].concat();
        let known = list_at(now, "requests")
            .iter()
            .find(|one| str_at(one, "class") == *class);
        let known = known.unwrap_or(&Value::Null);
        form = form
            .markup("<details class=\"windows\"")
            .markup(if known.is_null() { ">" } else { " open>" });
        form = form.markup(&text("summary", &["Requests: ", class].concat()));
        form = window(
            form,
            "In a burst",
            &[&place, ".burst"].concat(),
            at(known, "burst"),
        );
        form = window(
            form,
            "Over a longer time",
            &[&place, ".sustained"].concat(),
            at(known, "sustained"),
        );
        form = form
            .hidden(&[&place, ".class:with"].concat(), class)
            .markup("</details>");
    }
    let tokens = at(now, "tokens");
    form = form
        .group("Tokens, in and out together")
        .input(
            "Tokens",
            "allowance.tokens.tokens:number",
            &number(at(tokens, "tokens")),
            NUMBER,
            "",
        )
        .input(
            "In seconds",
            "allowance.tokens.seconds:number",
            &number(at(tokens, "seconds")),
            NUMBER,
            "",
        )
        .ungroup()
        .input(
            "Model calls at the same time",
            "allowance.concurrent:number",
            &number(at(now, "concurrent")),
            NUMBER,
            "",
        );
    let form = form
        .say("What is left empty is not limited; money is changed at budgets.")
        .end("Save");
    out.push_str(&anchored(&section("Override what a scope may use", &form)));
    Ok(out)
}

fn anchored(inner: &str) -> String {
    if inner.is_empty() {
        String::new()
    } else {
        element("div", &[("id", "change")], inner)
    }
}

fn window<'v>(form: Form<'v>, label: &str, place: &str, now: &Value) -> Form<'v> {
    form.group(label)
        .input(
            "Requests",
            &[place, ".requests:number"].concat(),
            &number(at(now, "requests")),
            NUMBER,
            "",
        )
        .input(
            "In seconds",
            &[place, ".seconds:number"].concat(),
            &number(at(now, "seconds")),
            NUMBER,
            "",
        )
        .ungroup()
}

fn number(value: &Value) -> String {
    if value.is_number() {
        value.to_string()
    } else {
        String::new()
    }
}

/// Every scope as a row: what applies, and where it is from.
fn scopes(all: &Value) -> Vec<Value> {
    let configured = at(all, "configured");
    let overridden = at(all, "overridden");
    let mut rows: Vec<Value> = Vec::new();
    let mut put = |scope: &str, now: &Value, from: &str| {
        let row = json!({"scope": scope, "now": now, "from": from});
        match rows.iter_mut().find(|row| str_at(row, "scope") == scope) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    };
    for limit in list_at(configured, "limits") {
        let mut countries = list_at(limit, "countries")
            .iter()
            .filter_map(Value::as_str)
            .peekable();
        let scope = ["limit/", str_at(limit, "class")].concat();
        if countries.peek().is_none() {
            put(&scope, limit, "configuration");
        }
        for country in countries {
            put(&[&scope, "/", country].concat(), limit, "configuration");
        }
    }
    for name in ["global", "tenant", "network", "client"] {
        put(name, at(configured, name), "configuration");
    }
    for (of, from) in [
        (at(configured, "tiers"), "configuration"),
        (at(configured, "aliases"), "configuration"),
        (at(overridden, "limits"), "operators"),
        (at(overridden, "allowances"), "operators"),
    ] {
        for (scope, now) in of.as_object().into_iter().flatten() {
            put(scope, now, from);
        }
    }
    rows
}

/// Budgets, and what is spent and reserved of them.
pub async fn budgets<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/budgets").await?;
    let rows = list_at(&all, "budgets");
    let columns = [
        ("Scope", "scope"),
        ("Budget", "budget"),
        ("Spent and reserved", "used"),
        ("Overridden", "overridden"),
        ("Actions", ACTIONS),
    ];
    let forms = |row: &Value| {
        let scope = encoded(str_at(row, "scope"));
        if view.may("PUT /budgets") {
            link(&["/budgets?scope=", &scope, "#change"].concat(), "Change")
        } else {
            String::new()
        }
    };
    let cell = |field: &str, row: &Value| match field {
        "budget" => Some(allowance(at(row, "budget"))),
        "used" => Some(spent(at(row, "used"))),
        _ => acting("scope", &forms)(field, row),
    };
    let mut out = text(
        "p",
        "Amounts are US dollars; windows are those of UTC. A call reserves its worst case before it begins, and is settled at its real cost.",
    );
    out.push_str(&table("budgets", &columns, rows, &cell));
    let asked = cx.head.query_value("scope").unwrap_or_default();
    let now = rows
        .iter()
        .find(|row| str_at(row, "scope") == asked)
        .map_or(&Value::Null, |row| at(row, "budget"));
    let mut form = view
        .form("PUT /budgets")
        .hidden("expect:number", &words(at(&all, "version")))
        .hidden("budget:json", "{}")
        .input("Scope", "scope", &asked, &[("required", "")], SCOPE_HINT);
    for (label, name) in [
        ("Dollars in each hour", "hour_usd"),
        ("Dollars on each day", "day_usd"),
        ("Dollars in each month", "month_usd"),
    ] {
        let place = ["budget.", name, ":number"].concat();
        form = form.input(label, &place, &number(at(now, name)), DOLLARS, "");
    }
    let form = form.say("What is left empty is not limited.").end("Save");
    out.push_str(&anchored(&section("Set a budget", &form)));
    Ok(out)
}

/// Each window of an account, in one line.
fn spent(used: &Value) -> String {
    list_at(used, "spend")
        .iter()
        .map(|window| {
            let dollars = |field| words(at(window, field));
            let name = words(at(window, "window"));
            let line = [
                "<div>This ",
                &crate::domain::page::escape(&name),
                ": $",
                &dollars("spent_usd"),
                " spent, $",
                &dollars("reserved_usd"),
                " reserved, until ",
                &show(at(window, "until")),
                "</div>",
            ];
            line.concat()
        })
        .collect()
}

const LISTS: [(&str, &str, &str); 6] = [
    (
        "allow",
        "allow:list",
        "Networks that the deny rules do not touch",
    ),
    ("deny", "deny:list", "Networks that may not call"),
    (
        "allow_countries",
        "allow_countries:list",
        "When not empty, only these countries may call",
    ),
    (
        "deny_countries",
        "deny_countries:list",
        "Countries that may not call",
    ),
    (
        "allow_asns",
        "allow_asns:numbers",
        "Autonomous systems that the deny rules do not touch",
    ),
    (
        "deny_asns",
        "deny_asns:numbers",
        "Autonomous systems that may not call",
    ),
];

/// Lists and blocks.
pub async fn lists<P: Port>(cx: &Context<'_, P>, view: &View) -> Result<String, Refusal> {
    let all = told(cx, "/lists").await?;
    let columns = [
        ("Block", "id"),
        ("Who", "what"),
        ("Until", "until"),
        ("Reason", "reason"),
        ("By", "by"),
        ("Actions", ACTIONS),
    ];
    let lift = |row: &Value| {
        let call = ["DELETE /blocks/", str_at(row, "id")].concat();
        view.button(&call, "Lift", str_at(row, "id"), &[])
    };
    let blocks = table(
        "blocks",
        &columns,
        list_at(&all, "blocks"),
        &acting("id", &lift),
    );
    let mut out = section("Blocks", &blocks);
    let form = view
        .form("POST /blocks")
        .group("Who: one of these")
        .input(
            "Network",
            "cidr",
            "",
            &[],
            "An address or a CIDR block, such as 203.0.113.0/24.",
        )
        .input("Visitor's id", "visitor", "", &[], "")
        .input("API key's id", "key", "", &[], "")
        .ungroup();
    out.push_str(&section("New block", &block_fields(form).end("Block")));
    let lists = at(&all, "lists");
    let lines = |list: &Value| {
        let lines: Vec<String> = list.as_array().into_iter().flatten().map(words).collect();
        lines.join("\n")
    };
    let configured = at(&all, "configured");
    let mut form = view
        .form("PUT /lists")
        .hidden("expect:number", &words(at(&all, "version")));
    let mut rows = Vec::new();
    for (name, field, label) in LISTS {
        form = form.area(label, field, &lines(at(lists, name)), "");
        rows.push(json!({"label": label, "configured": at(configured, name), "operators": at(lists, name)}));
    }
    let columns = [
        ("List", "label"),
        ("Configured", "configured"),
        ("Operators'", "operators"),
    ];
    out.push_str(&section(
        "Lists",
        &table("lists", &columns, &rows, &|_, _| None),
    ));
    let form = form
        .say("One entry in a line. These lists are laid over the configured ones.")
        .end("Save the lists");
    out.push_str(&section("Change the lists", &form));
    if !view.role.is_some_and(|role| role.may(Action::AdminAllow)) {
        return Ok(out);
    }
    let hint = "One in a line, besides those configured. Empty: as configured.";
    let narrow = view
        .form("PUT /lists")
        .hidden("expect:number", &words(at(&all, "version")))
        .area(
            "Networks that reach these pages",
            "admin_allow:or-null",
            &lines(at(&all, "admin_allow")),
            hint,
        )
        .end("Save the networks");
    out.push_str(&section("Networks of operators", &narrow));
    Ok(out)
}

/// For how long, and why.
pub fn block_fields(form: Form<'_>) -> Form<'_> {
    form.select("For", "seconds:number", &TIMES, "86400", "")
        .input(
            "Reason",
            "reason",
            "",
            &[("required", ""), ("maxlength", "1000")],
            "Operators and the audit log see it.",
        )
}

const TIMES: [(&str, &str); 5] = [
    ("3600", "1 hour"),
    ("86400", "1 day"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
    ("31536000", "365 days"),
];
