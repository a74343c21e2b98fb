//! A site with several providers, what they answer, and the callers of it.

use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::sse::write_event;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::llm::dialect::{StreamWriter, write_whole};
use gatehouse::domain::llm::message::{Finish, Usage};
use gatehouse::domain::llm::normal::conversation::{Part, ToolCall};
use gatehouse::domain::llm::normal::event::{Block, Delta, Envelope, Event};
use gatehouse::domain::llm::normal::whole::Whole;
use gatehouse::domain::settings::config::{Config, Limit, ProviderKind};
use serde_json::{Value, json};

use crate::support::fake_port::{FakePort, START};
use crate::support::operator::ADMIN_TOKEN;
use crate::support::run::{block_on, settle};
use crate::support::upstream::{Piece, Scripted};
use crate::support::{FakeBody, Received};

pub use Protocol::{Chat, Messages, Responses};

pub const KEY: &str = "sk-canary-0123456789";

// === the site ===

/// A site whose alias `site` asks these models, each over its own provider.
pub fn house(targets: &[(Protocol, &str)], change: impl FnOnce(&mut Config)) -> FakePort {
    let set_up = |config: &mut Config| {
        let provider = config.providers[0].clone();
        let mut target = config.aliases[0].targets[0].clone();
        target.model_var = None;
        config.providers.retain(|p| p.kind == ProviderKind::Builtin);
        config.aliases[0].targets.clear();
        for (protocol, model) in targets {
            let mut provider = provider.clone();
            provider.name = format!("with-{model}");
            provider.kind = match protocol {
                Chat => ProviderKind::Openai,
                Responses => ProviderKind::OpenaiResponses,
                Messages => ProviderKind::Anthropic,
            };
            provider.base_url_var = None;
            provider.base_url = Some(format!("https://{model}.example/v1"));
            target.provider.clone_from(&provider.name);
            target.model = Some((*model).to_owned());
            config.providers.push(provider);
            config.aliases[0].targets.push(target.clone());
        }
        config.aliases.retain(|alias| alias.name != "embed");
        // How many may ask is told in another file.
        for limit in &mut config.limits {
            plenty(limit);
        }
        change(config);
    };
    FakePort::with(
        set_up,
        &[("OPENAI_API_KEY", KEY), ("ADMIN_TOKEN", ADMIN_TOKEN)],
    )
}

fn plenty(limit: &mut Limit) {
    limit.burst.requests = 1_000_000;
    limit.sustained.requests = 1_000_000;
    limit.network_burst = None;
    limit.network_sustained = None;
}

/// One attempt and no more.
pub fn once(config: &mut Config) {
    config.retry.attempts_per_target = 1;
    config.retry.attempts = 1;
}

/// One attempt at each target.
pub fn once_each(config: &mut Config) {
    config.retry.attempts_per_target = 1;
}

/// Time enough for another target after one that said nothing until its deadline.
pub fn patient(config: &mut Config) {
    config.retry.budget_ms = 100_000;
    config.deadlines.whole_ms = None;
}

/// The prices of all models: a dollar for a million input tokens, ten for output.
pub fn priced(config: &mut Config) {
    let models: Vec<String> = config.aliases[0]
        .targets
        .iter()
        .filter_map(|target| target.model.clone())
        .collect();
    config.prices = models
        .iter()
        .map(|model| {
            serde_json::from_value(json!({"model": model, "input": 1.0, "output": 10.0})).unwrap()
        })
        .collect();
}

// === what providers answer ===

pub const USAGE: Usage = Usage {
    input: 10,
    cached: 0,
    written_5m: 0,
    written_1h: 0,
    output: 4,
    reasoning: 0,
    estimated: false,
};

fn envelope(model: &str) -> Envelope {
    Envelope {
        id: format!("of-{model}"),
        created: START,
        estimated_input: 10,
        include_usage: true,
        builtin: false,
    }
}

fn whole(model: &str, parts: Vec<Part>, finish: Finish) -> Whole {
    Whole {
        id: format!("of-{model}"),
        model: model.to_owned(),
        parts,
        finish: Some(finish),
        stop_sequence: None,
        usage: Some(USAGE),
    }
}

/// A whole answer.
pub fn said(protocol: Protocol, model: &str, text: &str) -> Scripted {
    let whole = whole(model, vec![Part::text(text)], Finish::Stop);
    Scripted::json(200, &write_whole(protocol, &whole, &envelope(model)))
}

/// The events of a provider's stream, each as its bytes.
pub fn events(protocol: Protocol, model: &str, pieces: &[&str]) -> Vec<String> {
    let mut events = vec![
        Event::Start {
            id: String::new(),
            model: model.to_owned(),
        },
        Event::Open(Block::Text),
    ];
    let text = |piece: &&str| Event::Delta(Delta::Text((*piece).to_owned()));
    events.extend(pieces.iter().map(text));
    events.extend([
        Event::Close,
        Event::Usage(USAGE),
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
    ]);
    written(protocol, model, &events)
}

/// The events of a stream that says something and then calls a tool.
pub fn calling(protocol: Protocol, model: &str) -> Vec<String> {
    let call = ToolCall {
        id: "call_1".into(),
        name: "look".into(),
        arguments: "{\"at\":1}".into(),
    };
    let parts = vec![Part::text("Let me see."), Part::ToolCall(call)];
    written(protocol, model, &whole(model, parts, Finish::Tool).events())
}

fn written(protocol: Protocol, model: &str, events: &[Event]) -> Vec<String> {
    let mut writer = StreamWriter::new(protocol, envelope(model));
    let mut frames = Vec::new();
    for event in events {
        writer.event(event, &mut frames);
    }
    frames
        .iter()
        .map(|frame| {
            let mut bytes = Vec::new();
            write_event(&mut bytes, frame.event, &frame.data);
            String::from_utf8(bytes).unwrap()
        })
        .collect()
}

/// A whole stream.
pub fn streams(protocol: Protocol, model: &str, pieces: &[&str]) -> Scripted {
    Scripted::events(events(protocol, model, pieces).into_iter().map(Piece::from))
}

/// How many of these events come before the first output.
pub fn preamble(events: &[String]) -> usize {
    let said = |event: &String| ["Let me", "The "].iter().any(|word| event.contains(word));
    events.iter().position(said).unwrap()
}

// === callers ===

pub fn post(path: &str) -> Head {
    Head {
        method: "POST".into(),
        path: path.into(),
        own_origin: "https://house.example".into(),
        address: Some("198.51.100.7".into()),
        content_type: Some("application/json".into()),
        at: START,
        ..Head::default()
    }
}

/// A question; a caller of the Responses API wants nothing stored.
pub fn question(protocol: Protocol, text: &str) -> Value {
    let turns = json!([{"role": "user", "content": text}]);
    match protocol {
        Chat => json!({"model": "site", "messages": turns}),
        Messages => json!({"model": "site", "messages": turns, "max_tokens": 500}),
        Responses => json!({"model": "site", "input": turns, "store": false}),
    }
}

pub fn streamed(protocol: Protocol, text: &str) -> Value {
    with(question(protocol, text), json!({"stream": true}))
}

/// A body with other fields.
pub fn with(mut body: Value, patch: Value) -> Value {
    for (name, value) in patch.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A whole call, from the request to the last byte.
pub async fn call(port: FakePort, head: Head, body: Value) -> Received {
    let bytes = body.to_string().into_bytes();
    let reply = serve(&port, head, FakeBody::whole(&bytes, 4096)).await;
    Received::of(reply).await
}

pub fn ask_with(port: &FakePort, head: Head, body: Value) -> Received {
    let received = block_on(call(port.clone(), head, body));
    settle();
    received
}

pub fn ask(port: &FakePort, protocol: Protocol, body: Value) -> Received {
    ask_with(port, post(protocol.endpoint()), body)
}

pub fn get(port: &FakePort, path: &str, query: &str) -> Received {
    let head = Head {
        method: "GET".into(),
        query: query.into(),
        content_type: None,
        ..post(path)
    };
    let received =
        block_on(async { Received::of(serve(port, head, FakeBody::whole(b"", 1)).await).await });
    settle();
    received
}

/// The text of a whole answer.
pub fn text_of(protocol: Protocol, received: &Received) -> String {
    gatehouse::domain::llm::dialect::read_whole(protocol, &received.body)
        .unwrap_or_else(|_| panic!("no answer: {}", received.text()))
        .text()
}

pub const fn secs(seconds: u64) -> Millis {
    Millis::from_secs(seconds)
}
