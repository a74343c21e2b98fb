//! The page of the models: what every public alias can do, from the table that `GET /v1/models` is made of.
//!
//! Which providers are active is known only to the running Worker, so the page is written as if all of them were. Like
//! `GET /v1/models` it never names the providers' own models.

use std::collections::BTreeMap;

use gatehouse::base::time::Millis;
use gatehouse::domain::llm::capability::describe;
use gatehouse::domain::settings::config::{Capability, ProviderKind, Serves};
use gatehouse::domain::settings::{ActiveAlias, Environment, Settings, names};
use serde_json::{Map, Value};

use crate::docs::Document;
use crate::layout::Layout;
use crate::problem::{Outcome, Problem};
use crate::template::fill;

/// Template and name of the document.
const TEMPLATE: &str = "models.md";

/// What stands where nothing is known.
const NOTHING: &str = "–";

/// The document, for the configuration that visitors meet: production's.
///
/// # Errors
/// A template whose placeholders do not fit, or a configuration that cannot be read.
pub fn document(layout: &Layout, now: Millis) -> Outcome<Document> {
    let production = |name: &str| {
        (name == names::ENVIRONMENT).then(|| Environment::Production.name().to_owned())
    };
    let settings = with_all_providers(&production)?;
    let markdown = markdown(layout.template(TEMPLATE)?, &settings, now)?;
    Ok(Document::of("models", markdown))
}

/// Settings in which every configured provider is active. Nothing is called with them.
fn with_all_providers(base: &dyn Fn(&str) -> Option<String>) -> Outcome<Settings> {
    let read = |variable: &dyn Fn(&str) -> Option<String>| {
        Settings::resolve(variable).map_err(|fault| Problem::new("gatehouse.toml", fault.0))
    };
    let mut given: BTreeMap<String, &str> = BTreeMap::new();
    for provider in &read(base)?.config.providers {
        match (&provider.key, &provider.base_url_var) {
            (Some(key), _) => given.insert(key.clone(), "configured"),
            (None, Some(address)) => given.insert(address.clone(), "https://provider.invalid"),
            (None, None) => None,
        };
    }
    read(&|name| base(name).or_else(|| given.get(name).map(|value| (*value).to_owned())))
}

fn markdown(template: &str, settings: &Settings, now: Millis) -> Outcome<String> {
    let public: Vec<(&ActiveAlias, Value)> = settings
        .aliases
        .iter()
        .filter(|alias| alias.config.public && !alias.targets.is_empty())
        .map(|alias| (alias, describe(settings, alias, now)))
        .collect();
    let chat: Vec<_> = public
        .iter()
        .filter(|(alias, _)| alias.config.serves == Serves::Chat)
        .collect();
    let heading = |(alias, _): &(&ActiveAlias, Value)| format!("`{}`", alias.config.name);
    let matrix = Capability::ALL.map(|capability| {
        let cells = chat.iter().map(|(_, told)| yes_or_no(told, capability));
        row(label(capability).0, cells.map(str::to_owned))
    });
    let meanings = Capability::ALL.map(|capability| {
        let (label, meaning) = label(capability);
        format!(
            "- **{label}** (`{}` in `/v1/models`): {meaning}",
            capability.name()
        )
    });
    let sizes = SIZES.map(|(label, tell)| {
        let cells = public
            .iter()
            .map(|(alias, told)| tell(settings, alias, told));
        row(label, cells)
    });
    let matrix = table(
        "Capability",
        chat.iter().map(|model| heading(model)),
        &matrix,
        "No public model of this site holds conversations.",
    );
    let sizes = table(
        "Model",
        public.iter().map(heading),
        &sizes,
        "This site has no public models.",
    );
    let values = [
        ("matrix", matrix.as_str()),
        ("meanings", &meanings.join("\n")),
        ("sizes", &sizes),
    ];
    fill(TEMPLATE, template, &values)
}

/// One cell of the second table.
type Tell = fn(&Settings, &ActiveAlias, &Value) -> String;

/// The rows of the second table.
const SIZES: [(&str, Tell); 7] = [
    ("Title", |_, alias, _| {
        plain(alias.config.title.as_deref().unwrap_or(&alias.config.name))
    }),
    ("For", |_, alias, _| serves(alias.config.serves).to_owned()),
    ("Without any provider", |settings, alias, _| {
        without_provider(settings, alias).to_owned()
    }),
    ("Context", |_, _, told| tokens(told.get("context_tokens"))),
    ("Longest answer", |_, alias, told| {
        match alias.config.serves {
            Serves::Chat => tokens(told.get("max_output_tokens")),
            _ => NOTHING.to_owned(),
        }
    }),
    ("Tier", |_, _, told| text(told.get("tier"))),
    ("Prices", |_, _, told| prices(told.get("prices"))),
];

/// A heading and an explanation.
const fn label(capability: Capability) -> (&'static str, &'static str) {
    match capability {
        Capability::Images => ("Images", "pictures in the question."),
        Capability::Files => ("Files", "documents in the question, such as PDF."),
        Capability::Audio => ("Audio", "sound in the question or the answer."),
        Capability::Tools => ("Tools", "functions that the caller runs for the model."),
        Capability::JsonSchema => ("JSON schema", "answers that follow a JSON schema."),
        Capability::JsonObject => ("JSON object", "answers that are some JSON object."),
        Capability::Reasoning => (
            "Reasoning",
            "thinking before the answer, as far as the caller asks.",
        ),
        Capability::Streaming => (
            "Streaming",
            "text that arrives while it is written; from a model without it the text comes at once.",
        ),
        Capability::ParallelTools => ("Parallel tools", "several tool calls in one answer."),
    }
}

const fn serves(serves: Serves) -> &'static str {
    match serves {
        Serves::Chat => "chat",
        Serves::Embeddings => "embeddings",
        Serves::Moderations => "moderation",
        Serves::Images => "making images",
        Serves::Speech => "reading aloud",
        Serves::Transcriptions => "writing down speech",
    }
}

/// Who answers while no provider has a key.
fn without_provider(settings: &Settings, alias: &ActiveAlias) -> &'static str {
    let builtin = alias.targets.iter().any(|target| {
        settings
            .provider(target)
            .is_some_and(|provider| provider.kind == ProviderKind::Builtin)
    });
    if builtin {
        "quotes from this site"
    } else {
        "not there"
    }
}

fn yes_or_no(told: &Value, capability: Capability) -> &'static str {
    let has = told
        .get("capabilities")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|word| word == capability.name()));
    if has { "yes" } else { "no" }
}

fn text(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str);
    text.map_or_else(|| NOTHING.to_owned(), plain)
}

/// `200000` → `200,000`
fn tokens(value: Option<&Value>) -> String {
    let Some(count) = value.and_then(Value::as_u64) else {
        return NOTHING.to_owned();
    };
    let digits = count.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Each price in the order of its amounts: `1 input, 5 output; 0.04 per image`.
fn prices(value: Option<&Value>) -> String {
    let lists: Vec<String> = value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(price)
        .filter(|shown| !shown.is_empty())
        .collect();
    if lists.is_empty() {
        return NOTHING.to_owned();
    }
    lists.join("; ")
}

fn price(price: &Map<String, Value>) -> String {
    let amounts = price
        .iter()
        .filter_map(|(name, amount)| Some((name, amount.as_f64()?)))
        // Zero is what a price has in the fields that do not concern it.
        .filter(|(_, amount)| *amount > 0.0)
        .map(|(name, amount)| format!("{amount} {}", name.replace('_', " ")));
    amounts.collect::<Vec<_>>().join(", ")
}

/// Text that Markdown leaves as it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() && !matches!(letter, '-' | '.' | ',' | '\'') {
            out.push('\\');
        }
        out.push(if letter.is_control() { ' ' } else { letter });
    }
    out
}

fn row(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {label} | {} |", cells.join(" | "))
}

/// A Markdown table with a column for each model, since there are few of them; without any, a sentence in its place.
fn table(
    corner: &str,
    models: impl Iterator<Item = String>,
    rows: &[String],
    empty: &str,
) -> String {
    let models: Vec<String> = models.collect();
    if models.is_empty() {
        return empty.to_owned();
    }
    let rule = row("---", models.iter().map(|_| "---".to_owned()));
    let head = row(corner, models.into_iter());
    format!("{head}\n{rule}\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests;
