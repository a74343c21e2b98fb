//! Streams by chance: what is written follows the grammar and is read back the same.

use proptest::prelude::*;

use super::grammar::check;
use super::{Reader, Writer};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::messages::whole::tests::{ending, envelope, part, usage};
use crate::domain::llm::message::Usage;
use crate::domain::llm::normal::event::{Block, Delta, Event, Frame};
use crate::domain::llm::normal::whole::Whole;

fn write(events: &[Event]) -> Vec<Frame> {
    let mut writer = Writer::new(envelope(false));
    let mut frames = Vec::new();
    for event in events {
        writer.event(event, &mut frames);
    }
    frames
}

fn read(frames: &[Frame]) -> Result<Vec<Event>, Invalid> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for frame in frames {
        reader.event(&frame.data, &mut events)?;
    }
    Ok(events)
}

/// A block with its deltas, cut as a provider might.
fn block() -> impl Strategy<Value = Vec<Event>> {
    let pieces = |most| proptest::collection::vec(".{0,6}", 0..most);
    let wrap = |block: Block, deltas: Vec<Delta>| {
        let mut events = vec![Event::Open(block)];
        events.extend(deltas.into_iter().map(Event::Delta));
        events.push(Event::Close);
        events
    };
    let thinking = || Block::Reasoning { id: None };
    prop_oneof![
        pieces(4)
            .prop_map(move |texts| wrap(Block::Text, texts.into_iter().map(Delta::Text).collect())),
        pieces(4).prop_map(move |texts| wrap(
            Block::Refusal,
            texts.into_iter().map(Delta::Text).collect()
        )),
        (pieces(3), pieces(3)).prop_map(move |(texts, signature)| {
            let signature = signature.into_iter().map(Delta::Signature);
            wrap(
                thinking(),
                texts
                    .into_iter()
                    .map(Delta::Text)
                    .chain(signature)
                    .collect(),
            )
        }),
        ".{0,6}".prop_map(move |data| wrap(thinking(), vec![Delta::Sealed(data)])),
        ("[a-z]{1,4}", pieces(3)).prop_map(move |(id, pieces)| {
            let block = Block::ToolCall {
                id,
                name: "f".into(),
            };
            wrap(block, pieces.into_iter().map(Delta::Arguments).collect())
        }),
    ]
}

/// A legal stream, with pings and usage anywhere behind the start.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let blocks = proptest::collection::vec(block(), 0..5);
    let extra = prop_oneof![Just(Event::Ping), usage().prop_map(Event::Usage)];
    let extras = proptest::collection::vec((any::<prop::sample::Index>(), extra), 0..4);
    (blocks, ending(), extras).prop_map(|(blocks, (finish, stop_sequence), extras)| {
        let mut events: Vec<Event> = blocks.concat();
        events.extend(finish.map(|reason| Event::Finish {
            reason,
            stop_sequence,
        }));
        for (index, extra) in extras {
            events.insert(index.index(events.len() + 1), extra);
        }
        let start = Event::Start {
            id: "theirs".into(),
            model: "m".into(),
        };
        events.insert(0, start);
        events.push(Event::End);
        events
    })
}

/// What comes back: our id, the estimate at the start, texts for refusals, one signature at a block's end, no empty
/// pieces, no thinking without content, the last usage and the reason at the end.
fn normalised(events: &[Event]) -> Vec<Event> {
    let (mut out, mut usage, mut finish, mut signature) = (Vec::new(), None, None, String::new());
    for event in events {
        match event {
            Event::Start { model, .. } => {
                out.push(Event::Start {
                    id: "msg_1".into(),
                    model: model.clone(),
                });
                out.push(Event::Usage(Usage {
                    input: 7,
                    ..Usage::default()
                }));
            }
            Event::Open(Block::Refusal) => out.push(Event::Open(Block::Text)),
            Event::Delta(Delta::Signature(more)) => signature.push_str(more),
            Event::Delta(Delta::Text(text) | Delta::Arguments(text)) if text.is_empty() => {}
            Event::Close => {
                if !signature.is_empty() {
                    out.push(Event::Delta(Delta::Signature(std::mem::take(
                        &mut signature,
                    ))));
                }
                out.push(Event::Close);
            }
            Event::Usage(report) => usage = Some(*report),
            Event::Finish { .. } => finish = Some(event.clone()),
            Event::End => {
                // Without a report the start's stands, though the output is told as none.
                out.push(Event::Usage(usage.unwrap_or(Usage {
                    input: 7,
                    ..Usage::default()
                })));
                out.extend(finish.take());
                out.push(Event::End);
            }
            event => out.push(event.clone()),
        }
    }
    out
}

/// Pings have no place in an order, and so may stand in thinking that turns out to be empty.
fn quiet(mut events: Vec<Event>) -> Vec<Event> {
    events.retain(|event| *event != Event::Ping);
    let mut at = 0;
    while at + 1 < events.len() {
        let empty = matches!(events[at], Event::Open(Block::Reasoning { .. }))
            && events[at + 1] == Event::Close;
        if empty {
            events.drain(at..at + 2);
        } else {
            at += 1;
        }
    }
    events
}

/// Somebody else's frames show thinking from its first event on, ours from its first content on.
fn without_thinking(events: Vec<Event>) -> Vec<Event> {
    let mut inside = false;
    let keep = |event: &Event| {
        inside |= matches!(event, Event::Open(Block::Reasoning { .. }));
        let keep = !inside;
        inside &= *event != Event::Close;
        keep
    };
    let mut events = events;
    events.retain(keep);
    events
}

proptest! {
    #[test]
    fn every_written_stream_follows_the_grammar_and_is_read_back_the_same(events in events()) {
        let frames = write(&events);
        prop_assert_eq!(check(&frames), Ok(()));
        let read = read(&frames).unwrap();
        let pings = |events: &[Event]| events.iter().filter(|event| **event == Event::Ping).count();
        prop_assert_eq!(pings(&read), pings(&events));
        prop_assert_eq!(quiet(read), quiet(normalised(&events)));
    }

    #[test]
    fn a_whole_answer_survives_being_streamed(
        parts in proptest::collection::vec(part(), 0..5),
        (finish, stop_sequence) in ending(),
        usage in usage(),
    ) {
        let whole = Whole { id: "msg_1".into(), model: "m".into(), parts, finish, stop_sequence, usage: Some(usage) };
        let mut collector = crate::domain::llm::normal::whole::Collector::default();
        for event in read(&write(&whole.events())).unwrap() {
            collector.push(&event);
        }
        prop_assert_eq!(collector.finished(), Some(&whole));
    }

    #[test]
    fn a_stream_noted_up_to_any_event_goes_on_as_if_it_had_been_written(events in events(), cut in any::<prop::sample::Index>()) {
        let events = without_thinking(events);
        let cut = cut.index(events.len() + 1);
        let mut noting = Writer::new(envelope(false));
        for event in &events[..cut] {
            noting.note(event);
        }
        let mut frames = write(&events[..cut]);
        for event in &events[cut..] {
            noting.event(event, &mut frames);
        }
        prop_assert_eq!(frames, write(&events));
    }

    #[test]
    fn nothing_makes_the_reader_panic(data in proptest::collection::vec(
        prop_oneof![
            ".{0,20}".prop_map(String::from),
            Just(r#"{"type":"message_start","message":{}}"#.to_owned()),
            Just(r#"{"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#.to_owned()),
            Just(r#"{"type":"content_block_stop","index":0}"#.to_owned()),
            Just(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#.to_owned()),
            Just(r#"{"type":"message_stop"}"#.to_owned()),
        ], 0..8))
    {
        let mut reader = Reader::default();
        let mut events = Vec::new();
        for data in data {
            if reader.event(&data, &mut events).is_err() {
                break;
            }
        }
        let ends = events.iter().filter(|event| **event == Event::End).count();
        prop_assert!(ends <= 1);
    }
}
