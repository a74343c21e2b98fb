//! What the tests of this dialect share: golden files and random values.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use serde_json::json;

use crate::base::sse::Parser;
use crate::base::time::Millis;
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event};
use crate::domain::llm::normal::whole::{Collector, Whole};

/// One feature as a caller and a provider of this dialect say it.
pub(super) struct Golden {
    pub(super) feature: &'static str,
    pub(super) request: &'static str,
    pub(super) answer: &'static str,
    pub(super) stream: &'static str,
}

macro_rules! golden {
    ($($feature:literal)*) => {
        pub(super) const GOLDEN: &[Golden] = &[$(Golden {
            feature: $feature,
            request: golden!(file $feature, ".request.json"),
            answer: golden!(file $feature, ".answer.json"),
            stream: golden!(file $feature, ".stream.sse"),
        }),*];
    };
    (file $feature:literal, $ending:literal) => {
        include_str!(concat!("../../../../../tests/golden/chat/", $feature, $ending))
    };
}

golden! {
    "text" "system" "turns" "images" "file" "tools" "tool_results" "schema" "stop_length"
    "stop_sequence" "stop_filter" "reasoning" "cache" "usage"
}

pub(super) fn golden(feature: &str) -> &'static Golden {
    GOLDEN
        .iter()
        .find(|golden| golden.feature == feature)
        .unwrap()
}

pub(super) fn envelope() -> Envelope {
    Envelope {
        id: "1".to_owned(),
        created: Millis(1_795_237_500_999),
        estimated_input: 7,
        include_usage: true,
        builtin: false,
    }
}

/// Reads a stream that comes in pieces.
pub(super) fn read_stream<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Invalid> {
    let mut parser = Parser::default();
    let mut reader = super::stream::Reader::default();
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        parser
            .push(piece, |event| {
                if result.is_ok() {
                    result = reader.event(event.data, &mut events);
                }
            })
            .unwrap();
    }
    result.map(|()| events)
}

pub(super) fn collected(events: &[Event]) -> Whole {
    let mut collector = Collector::default();
    events.iter().for_each(|event| collector.push(event));
    collector.finished().expect("a whole answer").clone()
}

pub(super) fn text() -> impl Strategy<Value = String> {
    "[a-c\"\\\\\n\u{e4}\u{4f60}\u{1f600} ]{0,6}"
}

pub(super) fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("{}".to_owned()),
        text().prop_map(|text| json!({"city": text}).to_string()),
    ]
}

pub(super) fn usage() -> impl Strategy<Value = Usage> {
    let count = || 0..1000u64;
    (count(), count(), count(), count(), count(), count()).prop_map(
        |(fresh, cached, written_5m, written_1h, spoken, reasoning)| Usage {
            input: fresh + cached + written_5m + written_1h,
            cached,
            written_5m,
            written_1h,
            output: spoken + reasoning,
            reasoning,
            estimated: false,
        },
    )
}

fn finish() -> impl Strategy<Value = Finish> {
    prop_oneof![
        Just(Finish::Stop),
        Just(Finish::Length),
        Just(Finish::Filter),
        Just(Finish::Tool),
    ]
}

pub(super) fn tool_call() -> impl Strategy<Value = ToolCall> {
    ("call_[a-z0-9]{1,6}", "[a-z_]{1,8}", arguments()).prop_map(|(id, name, arguments)| ToolCall {
        id,
        name,
        arguments,
    })
}

/// Any answer that the normal form can hold.
pub(super) fn whole() -> impl Strategy<Value = Whole> {
    let part = prop_oneof![
        text().prop_map(Part::text),
        text().prop_map(Part::Refusal),
        tool_call().prop_map(Part::ToolCall),
        (text(), option::of(text()), option::of(text())).prop_map(|(text, signature, sealed)| {
            Part::Reasoning(Thought {
                text,
                signature,
                sealed,
                id: None,
            })
        }),
    ];
    let told = (
        option::of(finish()),
        option::of(text()),
        option::of(usage()),
    );
    (text(), vec(part, 0..6), told).prop_map(|(model, parts, (finish, stop_sequence, usage))| {
        Whole {
            id: "x".to_owned(),
            model,
            parts,
            finish,
            stop_sequence,
            usage,
        }
    })
}

/// Any legal sequence of events that ends well.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let said = || text().prop_map(Delta::Text);
    let citation = Just(Delta::Citation(json!({"url": "https://example.com"})));
    let block = prop_oneof![
        vec(prop_oneof![4 => said(), 1 => citation], 0..4).prop_map(|deltas| (Block::Text, deltas)),
        vec(said(), 0..3).prop_map(|deltas| (Block::Refusal, deltas)),
        (
            option::of("rs_[a-z]{1,3}"),
            vec(
                prop_oneof![
                    said(),
                    text().prop_map(Delta::Signature),
                    text().prop_map(Delta::Sealed)
                ],
                0..4
            )
        )
            .prop_map(|(id, deltas)| (Block::Reasoning { id }, deltas)),
        (tool_call(), 1..4usize).prop_map(|(call, pieces)| {
            let chars: Vec<char> = call.arguments.chars().collect();
            let deltas = chars
                .chunks(chars.len().div_ceil(pieces).max(1))
                .map(|piece| Delta::Arguments(piece.iter().collect()));
            let deltas = deltas.collect();
            let (id, name) = (call.id, call.name);
            (Block::ToolCall { id, name }, deltas)
        }),
    ];
    let noise = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Event::Ping)),
        1 => usage().prop_map(|usage| Some(Event::Usage(usage))),
    ];
    let finish = option::of((finish(), option::of(text())));
    (text(), vec(block, 0..6), finish, vec(noise, 40)).prop_map(|(model, blocks, finish, noise)| {
        let mut events = Vec::new();
        for (block, deltas) in blocks {
            events.push(Event::Open(block));
            events.extend(deltas.into_iter().map(Event::Delta));
            events.push(Event::Close);
        }
        events.extend(finish.map(|(reason, stop_sequence)| Event::Finish {
            reason,
            stop_sequence,
        }));
        let id = "x".to_owned();
        let mut with_noise = vec![Event::Start { id, model }];
        let mut noise = noise.into_iter();
        for event in events {
            with_noise.extend(noise.next().flatten());
            with_noise.push(event);
        }
        with_noise.extend(noise.next().flatten());
        with_noise.push(Event::End);
        with_noise
    })
}

/// Some flag for the envelope.
pub(super) fn flag() -> impl Strategy<Value = bool> {
    any::<bool>()
}
