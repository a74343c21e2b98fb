//! Random answers for the property tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::base::time::Millis;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event};
use crate::domain::llm::normal::whole::Whole;

pub(super) fn envelope() -> Envelope {
    Envelope {
        id: "68ff".into(),
        created: Millis(1_795_237_500_999),
        estimated_input: 7,
        include_usage: false,
        builtin: false,
    }
}

/// Texts with what JSON must escape and what SSE could stumble over.
pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        Just("\"\\\n\r\u{0}\u{7}</script>".to_owned()),
        Just("你好 🦀\u{2028}é".to_owned()),
        any::<String>(),
    ]
}

/// A text that is not empty.
pub(super) fn words() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("{text}."))
}

pub(super) fn finish() -> impl Strategy<Value = Option<Finish>> {
    option::of(prop_oneof![
        Just(Finish::Stop),
        Just(Finish::Length),
        Just(Finish::Filter),
        Just(Finish::Tool),
    ])
}

pub(super) fn usage() -> impl Strategy<Value = Usage> {
    (any::<[u16; 6]>(), any::<bool>()).prop_map(|(n, estimated)| {
        let [cached, written_5m, written_1h, rest, reasoning, visible] = n.map(u64::from);
        Usage {
            input: cached + written_5m + written_1h + rest,
            cached,
            written_5m,
            written_1h,
            output: reasoning + visible,
            reasoning,
            estimated,
        }
    })
}

pub(super) fn thought() -> impl Strategy<Value = Thought> {
    let seal = prop_oneof![
        Just((None, None)),
        "[A-Za-z0-9+/=]{1,20}".prop_map(|signature| (Some(signature), None)),
        "[A-Za-z0-9+/=]{1,20}".prop_map(|sealed| (None, Some(sealed))),
    ];
    (text(), seal, option::of("rs_[a-z0-9]{16}")).prop_map(|(text, (signature, sealed), id)| {
        Thought {
            text,
            signature,
            sealed,
            id,
        }
    })
}

pub(super) fn call() -> impl Strategy<Value = ToolCall> {
    let arguments = prop_oneof![
        Just(String::new()),
        Just("{\"city\":\"Rome\"}".into()),
        text()
    ];
    ("call_[a-zA-Z0-9]{16}", "[a-z_]{1,12}", arguments).prop_map(|(id, name, arguments)| ToolCall {
        id,
        name,
        arguments,
    })
}

pub(super) fn whole() -> impl Strategy<Value = Whole> {
    let part = prop_oneof![
        text().prop_map(Part::text),
        text().prop_map(Part::Refusal),
        call().prop_map(Part::ToolCall),
        thought().prop_map(Part::Reasoning),
    ];
    let stop = option::of(words());
    (vec(part, 0..6), finish(), stop, option::of(usage())).prop_map(
        |(parts, finish, stop_sequence, usage)| Whole {
            id: "provider-1".into(),
            model: "m".into(),
            parts,
            finish,
            stop_sequence,
            usage,
        },
    )
}

/// A legal stream: the blocks of an answer cut into pieces, with pings and usage between them.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let cuts = vec((0_usize..4, any::<bool>()), 0..40);
    let noise = vec(
        (any::<proptest::sample::Index>(), option::of(usage())),
        0..4,
    );
    (whole(), cuts, noise).prop_map(|(whole, cuts, noise)| {
        let mut events = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        for event in whole.events() {
            match event {
                Event::Delta(Delta::Text(text)) => {
                    events.extend(pieces(&text, &mut cuts).map(Delta::Text).map(Event::Delta));
                }
                Event::Delta(Delta::Arguments(text)) => {
                    let pieces = pieces(&text, &mut cuts);
                    events.extend(pieces.map(Delta::Arguments).map(Event::Delta));
                }
                event => events.push(event),
            }
        }
        for (place, usage) in noise {
            let place = 1 + place.index(events.len() - 1);
            events.insert(place, usage.map_or(Event::Ping, Event::Usage));
        }
        events
    })
}

fn pieces(
    text: &str,
    cuts: &mut impl Iterator<Item = (usize, bool)>,
) -> std::vec::IntoIter<String> {
    let mut pieces = vec![String::new()];
    for letter in text.chars() {
        if let Some((0, _)) = cuts.next() {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(letter);
    }
    pieces.into_iter()
}

/// What reading gives of what was written, where that differs (see the table in the dialect's head):
/// empty deltas, pings and reasoning without any content are left out; empty arguments are `{}`; the last usage comes at
/// the end, and one of nothing is none; whether a call is why the model stopped follows from the calls.
pub(super) fn as_read(events: &[Event]) -> Vec<Event> {
    let mut read: Vec<Event> = Vec::new();
    let mut usage = None;
    let mut finish = None;
    let mut calls = false;
    for event in events {
        match event {
            Event::Start { model, .. } => read.push(Event::Start {
                id: format!("resp_{}", envelope().id),
                model: model.clone(),
            }),
            Event::Ping => {}
            Event::Usage(told) => usage = Some(*told),
            Event::Finish { reason, .. } => finish = Some(*reason),
            Event::Delta(Delta::Text(text) | Delta::Arguments(text)) if text.is_empty() => {}
            Event::Close if matches!(read.last(), Some(Event::Open(Block::Reasoning { .. }))) => {
                read.pop();
            }
            Event::Close if matches!(read.last(), Some(Event::Open(Block::ToolCall { .. }))) => {
                read.push(Event::Delta(Delta::Arguments("{}".into())));
                read.push(Event::Close);
            }
            Event::End => {
                let usage = usage.filter(|usage| usage.input + usage.output > 0);
                read.extend(usage.map(|usage| {
                    Event::Usage(Usage {
                        estimated: false,
                        ..usage
                    })
                }));
                let reason = finish.map(|reason| match reason {
                    Finish::Stop | Finish::Tool if calls => Finish::Tool,
                    Finish::Stop | Finish::Tool => Finish::Stop,
                    cut => cut,
                });
                read.extend(reason.map(|reason| Event::Finish {
                    reason,
                    stop_sequence: None,
                }));
                read.push(Event::End);
            }
            event => {
                calls |= matches!(event, Event::Open(Block::ToolCall { .. }));
                read.push(event.clone());
            }
        }
    }
    read
}

/// Takes away the ids that the writer gave to thoughts that came without one.
pub(super) fn without_given_ids(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::Open(Block::Reasoning { id }) = event
            && id.as_deref().is_some_and(|id| id.starts_with("rs_68ff_"))
        {
            *id = None;
        }
    }
    events
}
