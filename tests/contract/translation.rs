//! Every dialect to every other one: what a provider is sent, and what a caller gets.
//!
//! The files in `golden/{chat,messages,responses}` are what one dialect looks like; those in `golden/pairs` are what
//! becomes of each on its way. `UPDATE_GOLDEN=1 cargo test --test contract translation` writes them anew, to be read before they
//! are kept.

use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::base::sse::write_event;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::llm::dialect::{
    Invalid, StreamWriter, read_request, read_whole, write_request, write_whole,
};
use gatehouse::domain::llm::engine::Mode;
use gatehouse::domain::llm::message::{Finish, Usage};
use gatehouse::domain::llm::normal::conversation::{Part, ToolCall};
use gatehouse::domain::llm::normal::event::Envelope;
use gatehouse::domain::llm::normal::whole::Whole;
use gatehouse::domain::llm::stream::delivery::{Delivery, Options};
use gatehouse::domain::llm::stream::inlet::Inlet;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::{Map, Value, json};

/// The model of each dialect's providers: what a request may hold depends on it.
const fn model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat | Protocol::Responses => "gpt-5-mini",
        Protocol::Messages => "claude-haiku-4-5",
    }
}

const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat => "chat",
        Protocol::Responses => "responses",
        Protocol::Messages => "messages",
    }
}

fn envelope(include_usage: bool) -> Envelope {
    Envelope {
        id: "0123456789abcdefghijkl".into(),
        created: Millis(1_795_219_200_000),
        estimated_input: 7,
        include_usage,
        builtin: false,
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The features of a dialect that end so, with their files.
fn features(protocol: Protocol, ending: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(golden().join(name(protocol)))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name()?.to_str()?.to_owned();
            let feature = file.strip_suffix(ending)?.to_owned();
            Some((feature, fs::read(path).unwrap()))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 10, "{protocol:?} {ending}");
    found
}

fn pairs() -> impl Iterator<Item = (Protocol, Protocol)> {
    Protocol::ALL
        .into_iter()
        .flat_map(|from| Protocol::ALL.map(|to| (from, to)))
        .filter(|(from, to)| from != to)
}

// === snapshots ===

/// Compares what was made with the files, and tells all differences at once.
struct Snapshots {
    update: bool,
    wrong: Vec<String>,
    seen: Vec<String>,
}

impl Snapshots {
    fn new() -> Self {
        Self {
            update: std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1"),
            wrong: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn check(&mut self, file: String, made: &str) {
        let path = golden().join("pairs").join(&file);
        let kept = fs::read_to_string(&path).unwrap_or_default();
        if sorted_events(&kept) != sorted_events(made) {
            if self.update {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, made).unwrap();
            } else {
                let at = kept.lines().zip(made.lines()).position(|(a, b)| a != b);
                let line = |text: &str| {
                    let nth = at.and_then(|at| text.lines().nth(at));
                    nth.unwrap_or_default().to_owned()
                };
                self.wrong.push(format!(
                    "{file}, line {:?}:\n  kept {}\n  made {}",
                    at.map(|at| at + 1),
                    line(&kept),
                    line(made)
                ));
            }
        }
        self.seen.push(file);
    }

    /// No difference, and no file that nothing makes any more.
    fn done(self, ending: &str) {
        for entry in fs::read_dir(golden().join("pairs")).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            if file.ends_with(ending) && !self.seen.contains(&file) {
                assert!(self.update, "{file} is made by nothing");
                fs::remove_file(path).unwrap();
            }
        }
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// Sorted, so that a difference in a snapshot is one of meaning; that what a caller ordered stays in order is a test of
/// its own.
fn pretty(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&value).unwrap();
    text.push('\n');
    text
}

/// A stream with the objects of its events sorted likewise; any other text as it is.
fn sorted_events(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let data = line
                .strip_prefix("data: ")
                .map(serde_json::from_str::<Value>);
            let Some(Ok(mut data)) = data else {
                return line.to_owned();
            };
            data.sort_all_objects();
            format!("data: {data}\n")
        })
        .collect()
}

#[test]
fn requests_reach_providers_of_other_dialects_as_they_did() {
    let mut snapshots = Snapshots::new();
    for (from, to) in pairs() {
        for (feature, bytes) in features(from, ".request.json") {
            let body: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            let conversation = read_request(from, &body).unwrap();
            let written = write_request(to, &conversation, model(to));
            let lost: Vec<Value> = written
                .lost
                .iter()
                .map(|lost| json!({"param": lost.param, "hint": lost.feature.is_hint()}))
                .collect();
            let made = pretty(&json!({"body": written.body, "lost": lost}));
            let file = format!("{feature}.{}-{}.request.json", name(from), name(to));
            snapshots.check(file, &made);
            // Whoever reads it there finds the same conversation, but for what was said to be lost.
            let again = read_request(to, &written.body);
            assert!(again.is_ok(), "{feature} {from:?} {to:?}: {again:?}");
        }
    }
    snapshots.done(".request.json");
}

#[test]
fn whole_answers_reach_callers_of_other_dialects_as_they_did() {
    let mut snapshots = Snapshots::new();
    for (from, to) in pairs() {
        for (feature, bytes) in features(from, ".answer.json") {
            let whole = read_whole(from, &bytes).unwrap();
            let made = write_whole(to, &whole, &envelope(false));
            let file = format!("{feature}.{}-{}.answer.json", name(from), name(to));
            snapshots.check(file, &pretty(&made));
            let again = read_whole(to, made.to_string().as_bytes()).unwrap();
            assert_eq!(
                meaning(&again),
                meaning(&whole),
                "{feature} {from:?} {to:?}"
            );
            let counts = |whole: &Whole| whole.usage.map(|u| (u.input, u.cached, u.output));
            assert_eq!(counts(&again), counts(&whole), "{feature} {from:?} {to:?}");
        }
    }
    snapshots.done(".answer.json");
}

#[test]
fn streams_reach_callers_of_other_dialects_as_they_did() {
    let mut snapshots = Snapshots::new();
    for (from, to) in pairs() {
        for (feature, bytes) in features(from, ".stream.sse") {
            let made = delivered(from, to, &bytes, bytes.len(), true);
            let whole = crate::grammar::check(to, &made, true);
            let text = String::from_utf8(made).unwrap();
            let file = format!("{feature}.{}-{}.stream.sse", name(from), name(to));
            snapshots.check(file, &text);
            let source = crate::grammar::read(from, &crate::grammar::frames(&bytes));
            let source = source.finished().expect("a whole golden stream");
            assert_eq!(
                meaning(&whole),
                meaning(source),
                "{feature} {from:?} {to:?}"
            );
        }
    }
    snapshots.done(".stream.sse");
}

// === properties ===

/// A provider's stream as its caller gets it, read in pieces of that size.
fn delivered(from: Protocol, to: Protocol, bytes: &[u8], size: usize, usage: bool) -> Vec<u8> {
    let options = Options {
        protocol: to,
        hide_usage: to == Protocol::Chat && !usage,
        numbered: false,
        keep: false,
    };
    let mut inlet = Inlet::new(from, false);
    let mut delivery = Delivery::new(options, envelope(usage));
    delivery.begin(from, Mode::Fresh, Usage::default());
    let mut out = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let mut steps = Vec::new();
        inlet.push(piece, &mut steps);
        for step in &steps {
            delivery.step(step, &mut out);
        }
    }
    assert_eq!(inlet.fault(), None);
    out
}

/// What no translation may change: texts, refusals, calls in order, and why it ended.
fn meaning(whole: &Whole) -> Value {
    let mut text = String::new();
    let mut refusal = String::new();
    let mut calls = Vec::new();
    for part in &whole.parts {
        match part {
            Part::Text { text: more, .. } => text.push_str(more),
            Part::Refusal(more) => refusal.push_str(more),
            Part::ToolCall(call) => {
                let arguments: Value =
                    serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
                calls.push(json!([call.id, call.name, arguments]));
            }
            _ => {}
        }
    }
    // A dialect without refusals says them as text.
    text.push_str(&refusal);
    json!({"text": text, "calls": calls, "finish": whole.finish})
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z ,.\"\\\\]{1,40}",
        1 => "\\PC{1,20}",
        1 => Just("你好\n\ndata: x\n\n".to_owned()),
    ]
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let texts = proptest::collection::vec(words().prop_map(Part::text), 0..3);
    let calls = proptest::collection::vec((words(), any::<i32>()), 0..4).prop_map(|calls| {
        calls
            .into_iter()
            .enumerate()
            .map(|(i, (word, number))| {
                Part::ToolCall(ToolCall {
                    id: format!("call_{i}"),
                    name: format!("tool_{}", i % 2),
                    arguments: json!({"word": word, "number": number}).to_string(),
                })
            })
            .collect::<Vec<_>>()
    });
    (texts, calls).prop_map(|(texts, calls)| texts.into_iter().chain(calls).collect())
}

fn answers() -> impl Strategy<Value = Whole> {
    let finish = prop_oneof![Just(Finish::Stop), Just(Finish::Length)];
    (parts(), finish, 0..10_000_u64, 0..10_000_u64).prop_map(|(parts, finish, input, output)| {
        let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        Whole {
            id: "provider-1".into(),
            model: "some-model".into(),
            parts,
            finish: Some(if calls { Finish::Tool } else { finish }),
            stop_sequence: None,
            usage: Some(Usage {
                input,
                output,
                ..Usage::default()
            }),
        }
    })
}

proptest! {
    /// Any answer, streamed by any provider, in pieces of any size, says the same in any caller's dialect.
    #[test]
    fn no_stream_loses_text_calls_finish_or_usage_in_any_pair(whole in answers(), size in 1_usize..200) {
        for from in Protocol::ALL {
            let mut writer = StreamWriter::new(from, Envelope { id: "provider-1".into(), ..envelope(true) });
            let mut frames = Vec::new();
            for event in whole.events() {
                writer.event(&event, &mut frames);
            }
            let mut bytes = Vec::new();
            for frame in &frames {
                write_event(&mut bytes, frame.event, &frame.data);
            }
            for to in Protocol::ALL {
                for usage in [true, false] {
                    // A caller that did not ask for usage must not get the chunk that we asked for.
                    let made = delivered(from, to, &bytes, size, usage);
                    let got = crate::grammar::check(to, &made, usage);
                    assert_eq!(meaning(&got), meaning(&whole), "{from:?} {to:?}");
                    if usage || to != Protocol::Chat {
                        let counts = |whole: &Whole| whole.usage.map(|u| (u.input, u.output));
                        assert_eq!(counts(&got), counts(&whole), "{from:?} {to:?}");
                    }
                }
            }
        }
    }

    /// The same for whole answers.
    #[test]
    fn no_whole_answer_loses_anything_in_any_pair(whole in answers()) {
        for from in Protocol::ALL {
            let sent = write_whole(from, &whole, &envelope(true)).to_string();
            let read = read_whole(from, sent.as_bytes()).unwrap();
            for to in Protocol::ALL {
                let told = write_whole(to, &read, &envelope(true)).to_string();
                let got = read_whole(to, told.as_bytes()).unwrap();
                assert_eq!(meaning(&got), meaning(&whole), "{from:?} {to:?}");
            }
        }
    }

    /// No bytes of a provider are a panic, and what cannot be read is never taken for an answer.
    #[test]
    fn no_bytes_are_too_bad_to_be_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for from in Protocol::ALL {
            let read = read_whole(from, &bytes);
            assert!(!matches!(read, Err(Invalid::Shape(""))));
            let mut inlet = Inlet::new(from, true);
            inlet.watch(&bytes);
            assert!(inlet.fault().is_some() && inlet.finished().is_none());
        }
    }
}
