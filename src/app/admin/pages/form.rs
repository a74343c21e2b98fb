//! Forms: how they are written, and what they say when they come back.
//!
//! A form is a call of the API in another writing: its hidden field `call` names method and path, and each field a place
//! in the body, with the kind of its value behind a colon:
//!
//! ```text
//! name            text; left out when empty
//! name:maybe      text; null when empty
//! name:number     a number; left out when empty
//! name:bool       true or false
//! name:list       a list, one entry in a line; name:numbers of numbers
//! name:lines      the same, left out when empty; name:or-null: null when empty
//! name:none       begins an empty list; name:item adds to it
//! name:pairs      an object, `a=b` in a line
//! name:time       minutes or seconds in UTC; null when empty
//! name:flag       true, false or a text; null when empty
//! name:with       text, where its object is there already
//! name:json       any value; `*:json` is the whole body
//! a.b, a.0.b      within objects and lists
//! {name}          the part of the call's path
//! _name, sure, totp, call   not of the body
//! ```

use core::cell::Cell;

use serde_json::{Map, Value};

use super::html::{Attributes, element, text, void};
use crate::base::errors::Refusal;
use crate::domain::admin::{Access, find};
use crate::domain::identity::roles::Role;
use crate::domain::llm::request::invalid;
use crate::domain::page::escape;

/// What came with a form.
pub type Pairs = [(String, String)];

/// The last value of a name.
#[must_use]
pub fn value<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p str> {
    let found = pairs.iter().rev().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The call, with the parts of its path that are fields.
#[must_use]
pub fn call(pairs: &Pairs) -> String {
    let mut call = value(pairs, "call").unwrap_or_default().to_owned();
    for (name, value) in pairs.iter().filter(|(name, _)| name.starts_with('{')) {
        call = call.replace(name.as_str(), value.trim());
    }
    call
}

/// The body's fields.
///
/// # Errors
/// `invalid_parameter` for what has not its kind.
pub fn fields(pairs: &Pairs) -> Result<Map<String, Value>, Refusal> {
    let mut body = Value::Object(Map::new());
    let late = |name: &str| name.ends_with(":with");
    let early = pairs.iter().filter(|(name, _)| !late(name));
    for (name, given) in early.chain(pairs.iter().filter(|(name, _)| late(name))) {
        let own = matches!(name.as_str(), "call" | "sure" | "totp");
        if own || name.starts_with(['_', '{']) {
            continue;
        }
        let (path, kind) = name.split_once(':').unwrap_or((name, ""));
        let given = given.trim();
        if path == "*" {
            body = serde_json::from_str(given).map_err(|_| invalid(path, "is no JSON"))?;
            continue;
        }
        if kind == "item" {
            if let Some(Value::Array(list)) = place(&mut body, path) {
                list.push(Value::from(given));
            }
        } else if kind != "with" {
            if let Some(value) = typed(path, kind, given)?
                && let Some(place) = place(&mut body, path)
            {
                *place = value;
            }
        } else if let Some((parent, last)) = path.rsplit_once('.')
            && let Some(Value::Object(fields)) = existing(&mut body, parent)
        {
            fields.insert(last.to_owned(), Value::from(given));
        }
    }
    match listed(body) {
        Value::Object(fields) => Ok(fields),
        _ => Err(invalid("*", "must be an object")),
    }
}

fn typed(path: &str, kind: &str, given: &str) -> Result<Option<Value>, Refusal> {
    let lines = || {
        given
            .split(['\n', ','])
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let number = |text: &str| {
        let number: Result<Value, _> = serde_json::from_str(text);
        number
            .ok()
            .filter(Value::is_number)
            .ok_or_else(|| invalid(path, "must be a number, such as 10 or 0.5"))
    };
    let some = (!given.is_empty()).then_some(given);
    Ok(match kind {
        "number" => some.map(number).transpose()?,
        "bool" => Some(Value::Bool(given == "true")),
        "list" => Some(lines().collect()),
        "none" => Some(Value::Array(Vec::new())),
        "lines" => some.map(|_| lines().collect()),
        "or-null" => Some(some.map_or(Value::Null, |_| lines().collect())),
        "numbers" => Some(Value::Array(lines().map(number).collect::<Result<_, _>>()?)),
        "pairs" => {
            let mut map = Map::new();
            for line in lines() {
                let (name, value) = line.split_once('=').ok_or_else(|| {
                    invalid(
                        path,
                        "must have a name and a value in each line, such as team=search",
                    )
                })?;
                map.insert(name.trim().to_owned(), Value::from(value.trim()));
            }
            Some(Value::Object(map))
        }
        "time" => Some(some.map_or(Value::Null, |text| {
            let seconds = if text.len() == 16 { ":00" } else { "" };
            let zone = if text.ends_with('Z') { "" } else { "Z" };
            Value::from([text, seconds, zone].concat())
        })),
        "flag" => Some(match given {
            "" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => Value::from(text),
        }),
        "maybe" => Some(some.map_or(Value::Null, Value::from)),
        "json" => match some {
            None => None,
            Some(text) => {
                Some(serde_json::from_str(text).map_err(|_| invalid(path, "is no JSON"))?)
            }
        },
        _ => some.map(Value::from),
    })
}

/// A place in the body, which is made where it is not there.
fn place<'b>(body: &'b mut Value, path: &str) -> Option<&'b mut Value> {
    let mut place = body;
    for part in path.split('.') {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut()?.entry(part).or_insert(Value::Null);
    }
    Some(place)
}

fn existing<'b>(body: &'b mut Value, path: &str) -> Option<&'b mut Value> {
    path.split('.')
        .try_fold(body, |place, part| place.get_mut(part))
}

/// Fields as a query.
#[must_use]
pub fn query(fields: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        for part in [
            "&",
            &encoded(name),
            "=",
            &encoded(&super::html::words(value)),
        ] {
            out.push_str(part);
        }
    }
    out
}

/// Everything but unreserved characters percent-encoded (RFC 3986 §2.3).
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&crate::base::digest::hex(&[byte]));
        }
    }
    out
}

/// Objects whose names are numbers are lists.
fn listed(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_list =
                !fields.is_empty() && fields.keys().all(|name| name.parse::<u8>().is_ok());
            let inner = fields
                .into_iter()
                .map(|(name, value)| (name, listed(value)));
            if is_list {
                inner.map(|(_, value)| value).collect()
            } else {
                Value::Object(inner.collect())
            }
        }
        other => other,
    }
}

// === writing ===

/// What a page needs to know to write its forms.
pub struct View {
    /// Below `/admin`; forms come back to it.
    pub path: String,
    /// The role that is signed in: forms that it may not send are left out.
    pub role: Option<Role>,
    /// A form that was refused: what it said, and why.
    pub failed: Option<(Vec<(String, String)>, Refusal)>,
    ids: Cell<u32>,
}

/// A form that is being written.
pub struct Form<'v> {
    view: &'v View,
    /// What it said when it was refused.
    said: Option<&'v Pairs>,
    open: bool,
    html: String,
}

impl View {
    /// A page of a role.
    #[must_use]
    pub const fn new(path: String, role: Option<Role>) -> Self {
        Self {
            path,
            role,
            failed: None,
            ids: Cell::new(0),
        }
    }

    /// A field of the form that was refused.
    #[must_use]
    pub fn said(&self, name: &str) -> Option<String> {
        let (pairs, _) = self.failed.as_ref()?;
        value(pairs, name).map(str::to_owned)
    }

    /// May the role call this, as `METHOD /path?query`?
    #[must_use]
    pub fn may(&self, call: &str) -> bool {
        let (method, path) = call.split_once(' ').unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        find(method, path).is_ok_and(|found| match found.endpoint.access {
            Access::Open => true,
            Access::Session => self.role.is_some(),
            Access::Right(action) => self.role.is_some_and(|role| role.may(action)),
        })
    }

    /// Begins a form; it stays empty for a role that may not send it.
    #[must_use]
    pub fn form(&self, call: &str) -> Form<'_> {
        self.form_of(call, "stack")
    }

    fn form_of(&self, call: &str, class: &str) -> Form<'_> {
        let action = ["/admin", &self.path].concat();
        let said = self.failed.as_ref().map(|(pairs, _)| pairs.as_slice());
        let form = void(
            "form",
            &[("method", "post"), ("action", &action), ("class", class)],
        );
        Form {
            view: self,
            // What undoes a change has no fields of its own.
            said: said.filter(|pairs| {
                value(pairs, "call") == Some(call) && value(pairs, "*:json").is_none()
            }),
            open: self.may(call),
            html: form
                + &void(
                    "input",
                    &[("type", "hidden"), ("name", "call"), ("value", call)],
                ),
        }
    }

    /// A form that is nothing but a button; `about` tells screen readers what it is for.
    #[must_use]
    pub fn button(&self, call: &str, words: &str, about: &str, hidden: Attributes<'_>) -> String {
        let mut form = self.form_of(call, "act");
        for (name, value) in hidden {
            form = form.hidden(name, value);
        }
        form.end_as(words, about, "quiet")
    }

    fn id(&self) -> String {
        let id = self.ids.get().wrapping_add(1);
        self.ids.set(id);
        ["f", &id.to_string()].concat()
    }
}

impl Form<'_> {
    /// A field that is not seen.
    #[must_use]
    pub fn hidden(mut self, name: &str, value: &str) -> Self {
        let attributes = [("type", "hidden"), ("name", name), ("value", value)];
        self.html.push_str(&void("input", &attributes));
        self
    }

    /// Words between fields.
    #[must_use]
    pub fn say(mut self, words: &str) -> Self {
        self.html.push_str(&text("p", words));
        self
    }

    /// Markup between fields.
    #[must_use]
    pub fn markup(mut self, markup: &str) -> Self {
        self.html.push_str(markup);
        self
    }

    /// A field of one line.
    #[must_use]
    pub fn input(
        self,
        label: &str,
        name: &str,
        now: &str,
        more: Attributes<'_>,
        hint: &str,
    ) -> Self {
        // What is typed blindly is not sent back.
        let secret = more.contains(&("type", "password"))
            || more.contains(&("autocomplete", "one-time-code"));
        let now = if secret {
            String::new()
        } else {
            self.now(name, now)
        };
        self.field(label, name, hint, |attributes| {
            let mut all = vec![("value", now.as_str())];
            all.extend(attributes);
            all.extend(more);
            void("input", &all)
        })
    }

    /// A field of several lines.
    #[must_use]
    pub fn area(self, label: &str, name: &str, now: &str, hint: &str) -> Self {
        let now = self.now(name, now);
        let rows = now.lines().count().clamp(3, 12).to_string();
        self.field(label, name, hint, |attributes| {
            let mut all = vec![("rows", rows.as_str()), ("spellcheck", "false")];
            all.extend(attributes);
            // The first line break within is not of the text.
            element("textarea", &all, &["\n", &escape(&now)].concat())
        })
    }

    /// A choice of one; a value is its own words where those are empty.
    #[must_use]
    pub fn select(
        self,
        label: &str,
        name: &str,
        options: &[(&str, &str)],
        now: &str,
        hint: &str,
    ) -> Self {
        let now = self.now(name, now);
        let options: String = options
            .iter()
            .map(|(value, words)| {
                let words = if words.is_empty() { value } else { words };
                let chosen = [("value", *value), ("selected", "")];
                let attributes = if *value == now {
                    &chosen[..]
                } else {
                    &chosen[..1]
                };
                element("option", attributes, &escape(words))
            })
            .collect();
        self.field(label, name, hint, |attributes| {
            element("select", attributes, &options)
        })
    }

    /// A box to tick.
    #[must_use]
    pub fn check(mut self, label: &str, name: &str, value: &str, now: bool) -> Self {
        let ticked = self.said.map_or(now, |said| {
            said.iter()
                .any(|(known, given)| known == name && given == value)
        });
        let mut attributes = vec![("type", "checkbox"), ("name", name), ("value", value)];
        if ticked {
            attributes.push(("checked", ""));
        }
        let inner = void("input", &attributes) + &text("span", label);
        self.html
            .push_str(&element("label", &[("class", "check")], &inner));
        self
    }

    /// Begins a group of fields.
    #[must_use]
    pub fn group(mut self, legend: &str) -> Self {
        self.html.push_str("<fieldset>");
        self.html.push_str(&text("legend", legend));
        self
    }

    /// Ends a group.
    #[must_use]
    pub fn ungroup(self) -> Self {
        self.markup("</fieldset>")
    }

    /// Ends the form with its button.
    #[must_use]
    pub fn end(self, words: &str) -> String {
        self.end_as(words, "", "")
    }

    /// The same, with what the button is about and its class.
    #[must_use]
    pub fn end_as(mut self, words: &str, about: &str, class: &str) -> String {
        if !self.open {
            return String::new();
        }
        let mut inner = escape(words);
        if !about.is_empty() {
            inner.push_str(&element(
                "span",
                &[("class", "unseen")],
                &escape(&[" ", about].concat()),
            ));
        }
        let button = element("button", &[("type", "submit"), ("class", class)], &inner);
        self.html
            .push_str(&element("div", &[("class", "row")], &button));
        self.html.push_str("</form>");
        self.html
    }

    fn now(&self, name: &str, now: &str) -> String {
        let said = self.said.map(|said| value(said, name).unwrap_or_default());
        said.unwrap_or(now).to_owned()
    }

    fn field(
        mut self,
        label: &str,
        name: &str,
        hint: &str,
        control: impl FnOnce(Attributes<'_>) -> String,
    ) -> Self {
        let id = self.view.id();
        let of_hint = [&id, "-hint"].concat();
        let described = if hint.is_empty() { "" } else { &of_hint };
        let mut attributes = vec![("id", id.as_str()), ("name", name)];
        let at_fault = self.said.is_some() && self.view.blames(name);
        let both = [described, " error"].concat();
        if at_fault {
            attributes.extend([("aria-invalid", "true"), ("aria-describedby", both.trim())]);
        } else if !described.is_empty() {
            attributes.push(("aria-describedby", described));
        }
        let mut inner = element("label", &[("for", &id)], &escape(label));
        if !hint.is_empty() {
            inner.push_str(&element(
                "p",
                &[("class", "hint"), ("id", &of_hint)],
                &escape(hint),
            ));
        }
        inner.push_str(&control(&attributes));
        self.html
            .push_str(&element("div", &[("class", "field")], &inner));
        self
    }
}

impl View {
    /// Is this the field that the refusal names?
    fn blames(&self, name: &str) -> bool {
        let name = name.split(':').next().unwrap_or_default();
        let param = self
            .failed
            .as_ref()
            .and_then(|(_, refusal)| refusal.param.as_deref());
        param.is_some_and(|param| param == name || param.ends_with(&[".", name].concat()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{View, call, fields};
    use crate::app::request::form_pairs;
    use crate::base::errors::{Code, Refusal};
    use crate::domain::identity::roles::Role;

    fn read(text: &str) -> Value {
        let pairs: Vec<_> = form_pairs(text).collect();
        Value::Object(fields(&pairs).unwrap())
    }

    #[test]
    fn a_form_is_a_body_in_another_writing() {
        for (text, body) in [
            ("call=POST+/keys&sure=yes&totp=1&_x=1&{name}=a", json!({})),
            (
                "a=+x+&b=&c:maybe=&d:maybe=y",
                json!({"a": "x", "c": null, "d": "y"}),
            ),
            (
                "a:number=7&b:number=0.5&c:number=",
                json!({"a": 7, "b": 0.5}),
            ),
            (
                "a:bool=false&a:bool=true&b:bool=false",
                json!({"a": true, "b": false}),
            ),
            (
                "a:list=&b:list=x%0D%0Ay,z&c:lines=&d:or-null=",
                json!({"a": [], "b": ["x", "y", "z"], "d": null}),
            ),
            ("a:numbers=1%0A2", json!({"a": [1, 2]})),
            ("a:pairs=k=v%0Al=w=x", json!({"a": {"k": "v", "l": "w=x"}})),
            (
                "a:none=&b:none=&b:item=x&b:item=y&c:none=&c:item=x&c=all",
                json!({"a": [], "b": ["x", "y"], "c": "all"}),
            ),
            (
                "a:time=2027-01-31T05:06&b:time=&c:time=2027-01-31T05:06:07",
                json!({"a": "2027-01-31T05:06:00Z", "b": null, "c": "2027-01-31T05:06:07Z"}),
            ),
            (
                "a:flag=true&b:flag=on&c:flag=",
                json!({"a": true, "b": "on", "c": null}),
            ),
            (
                "a.b.c=x&a.d:number=1",
                json!({"a": {"b": {"c": "x"}, "d": 1}}),
            ),
            // The class alone, of a row that was left empty, is no entry.
            (
                "a.0.class:with=chat&a.0.n:number=1&a.1.n:number=&a.1.class:with=read&a.2.n:number=3",
                json!({"a": [{"n": 1, "class": "chat"}, {"n": 3}]}),
            ),
            (
                "*:json={\"a\":[1]}&expect:number=4",
                json!({"a": [1], "expect": 4}),
            ),
        ] {
            assert_eq!(read(text), body, "{text}");
        }
    }

    #[test]
    fn what_has_not_its_kind_is_named() {
        for (text, param) in [
            ("a.b:number=x", "a.b"),
            ("c:json={", "c"),
            ("d:pairs=x", "d"),
            ("e:numbers=1,b", "e"),
            ("*:json=[", "*"),
        ] {
            let pairs: Vec<_> = form_pairs(text).collect();
            let refusal = fields(&pairs).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidParameter, "{text}");
            assert_eq!(refusal.param.as_deref(), Some(param), "{text}");
        }
    }

    #[test]
    fn a_part_of_the_path_can_be_a_field() {
        let pairs: Vec<_> = form_pairs("call=PUT+/flags/{name}&{name}=+beta+").collect();
        assert_eq!(call(&pairs), "PUT /flags/beta");
    }

    #[test]
    fn a_form_that_a_role_may_not_send_is_not_written() {
        let view = |role| View::new("/keys".into(), role);
        let written = |role| {
            view(role)
                .form("POST /keys")
                .input("Name", "name", "", &[], "")
                .end("Create")
        };
        assert!(written(Some(Role::Admin)).contains("<form"));
        for role in [Some(Role::Analyst), Some(Role::Support), None] {
            assert_eq!(written(role), "");
        }
        assert_eq!(view(Some(Role::Owner)).form("POST /nothing").end("x"), "");
    }

    #[test]
    fn a_refused_form_keeps_what_it_said_but_no_secret() {
        let mut view = View::new("/x".into(), Some(Role::Owner));
        let pairs: Vec<_> = form_pairs("call=POST+/keys&name=%3Cb%3E&secret=hush").collect();
        view.failed = Some((
            pairs,
            Refusal::new(Code::InvalidParameter).param("body.name"),
        ));
        let form = |call: &str| {
            view.form(call)
                .input("Name", "name", "before", &[], "")
                .input("Secret", "secret", "", &[("type", "password")], "")
                .end("Send")
        };
        let kept = form("POST /keys");
        assert!(
            kept.contains("value=\"&lt;b&gt;\"") && kept.contains("aria-invalid"),
            "{kept}"
        );
        assert!(!kept.contains("hush"));
        // Another form of the page is as it was.
        let other = form("POST /site-keys");
        assert!(
            other.contains("value=\"before\"") && !other.contains("aria-invalid"),
            "{other}"
        );
    }
}
