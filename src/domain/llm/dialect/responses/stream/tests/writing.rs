//! What is written, and where a writer goes on that takes over.

use super::super::grammar::check;
use super::super::{Reader, Writer};
use super::{added, golden, read_frames, start, text, write_all};
use crate::base::sse::Parser;
use crate::domain::llm::dialect::responses::arbitrary::{
    as_read, envelope, events, without_given_ids,
};
use crate::domain::llm::dialect::responses::whole;
use crate::domain::llm::message::Finish;
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Failed, Frame};
use crate::domain::llm::normal::whole::Collector;
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};

proptest! {
    #[test]
    fn what_is_written_obeys_the_grammar_and_is_read_back(events in events()) {
        let frames = write_all(&events, envelope());
        prop_assert_eq!(check(&frames).err(), None);
        prop_assert_eq!(without_given_ids(read_frames(&frames)), as_read(&events));
    }

    #[test]
    fn the_last_event_carries_the_whole_answer(events in events()) {
        let frames = write_all(&events, envelope());
        let last = check(&frames).unwrap();
        let mut collector = Collector::default();
        for event in read_frames(&frames) {
            collector.push(&event);
        }
        // An empty text is a part in the one and none in the other.
        let whole = whole::read(last.to_string().as_bytes()).unwrap();
        prop_assert_eq!(collector.so_far(), &whole);
    }

    /// What was noted and what was written give one stream, wherever the first ends.
    #[test]
    fn a_writer_goes_on_after_what_it_only_noted(events in events(), at in 0.0..1.0_f64) {
        let all = write_all(&events, envelope());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (at * events.len() as f64) as usize;
        let mut writer = Writer::new(envelope());
        for event in &events[..at] {
            writer.note(event);
        }
        let mut frames = Vec::new();
        for event in &events[at..] {
            writer.event(event, &mut frames);
        }
        prop_assert_eq!(&all[all.len() - frames.len()..], frames.as_slice());
    }

    /// The same when the first part came in frames of a provider's own, with other ids and numbers.
    #[test]
    fn a_writer_goes_on_after_forwarded_frames(events in events(), at in 0.0..1.0_f64) {
        let provider = Envelope { id: "provider".into(), ..envelope() };
        let forwarded = write_all(&events, provider);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = 2 + (at * (forwarded.len() - 2) as f64) as usize;
        let (first, rest) = forwarded.split_at(at.min(forwarded.len() - 1));
        let (mut writer, seen) = followed(first);
        let mut frames = first.to_vec();
        // The rest says the same as the provider would have said, and in the same frames but for ids not yet seen.
        let mut reader = Reader::default();
        let mut tail = Vec::new();
        for frame in first {
            reader.event(&frame.data, &mut Vec::new()).unwrap();
        }
        for frame in rest {
            reader.event(&frame.data, &mut tail).unwrap();
        }
        for event in &tail {
            writer.event(event, &mut frames);
        }
        prop_assert_eq!(check(&frames).err(), None);
        let joined = without_given_ids([seen, tail].concat());
        // Thinking that was only announced is taken over under its own id.
        let read = without_item_ids(without_given_ids(read_frames(&frames)));
        prop_assert_eq!(read, without_item_ids(as_followed(joined)));
    }
}

fn without_item_ids(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::Open(Block::Reasoning { id }) = event {
            *id = None;
        }
    }
    events
}

/// A writer that has followed these frames, and what they said.
fn followed(frames: &[Frame]) -> (Writer, Vec<Event>) {
    let mut writer = Writer::new(envelope());
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    for frame in frames {
        let before = seen.len();
        writer.follow(&frame.data);
        reader.event(&frame.data, &mut seen).unwrap();
        for event in &seen[before..] {
            writer.note(event);
        }
    }
    (writer, seen)
}

/// Normalised, but under the provider's id.
fn as_followed(events: Vec<Event>) -> Vec<Event> {
    let id = match &events[0] {
        Event::Start { id, .. } => id.clone(),
        _ => panic!("no start"),
    };
    let mut read = as_read(&events);
    if let Event::Start { id: ours, .. } = &mut read[0] {
        *ours = id;
    }
    read
}

#[test]
fn a_continued_text_keeps_the_ids_and_numbers_that_the_caller_has_seen() {
    let stream = golden("text");
    let mut frames = Vec::new();
    Parser::default()
        .push(stream.as_bytes(), |event| {
            frames.push(event.data.to_owned())
        })
        .unwrap();
    let mut writer = Writer::new(envelope());
    let mut reader = Reader::default();
    for data in &frames[..5] {
        // Up to the first delta.
        writer.follow(data);
        let mut seen = Vec::new();
        reader.event(data, &mut seen).unwrap();
        seen.iter().for_each(|event| writer.note(event));
    }
    let mut out = Vec::new();
    writer.event(
        &Event::Start {
            id: "other".into(),
            model: "other".into(),
        },
        &mut out,
    );
    assert_eq!(out, [], "one start");
    for event in [
        text(" again!"),
        Event::Close,
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
    ] {
        writer.event(&event, &mut out);
    }
    let data: Vec<Value> = out
        .iter()
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect();
    assert_eq!(data[0]["sequence_number"], 5);
    assert_eq!(data[0]["item_id"], "msg_68ff3c01a1b0819fa");
    let last = data.last().unwrap();
    assert_eq!(last["response"]["id"], "resp_68ff3c01a1b0819f");
    assert_eq!(last["response"]["model"], "gpt-5.4-mini-2026-03-17");
    assert_eq!(last["response"]["created_at"], 1_795_237_500);
    assert_eq!(
        last["response"]["output"][0]["content"][0]["text"],
        "Hello again!"
    );
}

#[test]
fn an_adopted_id_and_model_stay() {
    let mut writer = Writer::new(envelope());
    writer.adopt("resp_seen", "seen");
    writer.note(&start());
    let answer = writer.answer();
    assert_eq!(
        (&answer["id"], &answer["model"]),
        (&json!("resp_seen"), &json!("seen"))
    );
}

#[test]
fn a_forwarded_item_of_another_kind_is_ended_and_lends_its_id_to_nobody() {
    let mut writer = Writer::new(envelope());
    writer.note(&start());
    writer.follow(&added(0, json!({"type": "web_search_call", "id": "ws_1"})).to_string());
    let mut out = Vec::new();
    writer.event(&Event::Open(Block::Text), &mut out);
    let data: Vec<Value> = (out.iter())
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect();
    assert_eq!(data[0]["type"], "response.output_item.done");
    assert_eq!(data[0]["item"]["status"], "incomplete");
    assert_eq!(
        (&data[1]["output_index"], &data[1]["item"]["id"]),
        (&json!(1), &json!("msg_68ff_1"))
    );
    let answer = writer.answer();
    assert_eq!(answer["output"][0]["id"], "ws_1");
}

#[test]
fn texts_and_refusals_in_a_row_are_parts_of_one_message() {
    let events = [
        start(),
        Event::Open(Block::Text),
        text("a"),
        Event::Close,
        Event::Open(Block::Refusal),
        text("b"),
        Event::Close,
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
    ];
    let last = check(&write_all(&events, envelope())).unwrap();
    assert_eq!(last["output"].as_array().unwrap().len(), 1);
    assert_eq!(
        last["output"][0]["content"][1],
        json!({"type": "refusal", "refusal": "b"})
    );
}

#[test]
fn calls_without_an_id_or_with_one_that_was_used_get_one() {
    let open = |id: &str| {
        Event::Open(Block::ToolCall {
            id: id.into(),
            name: "f".into(),
        })
    };
    let mut events = vec![start()];
    for id in ["", "same", "same", ""] {
        events.extend([open(id), Event::Close]);
    }
    events.push(Event::End);
    let last = check(&write_all(&events, envelope())).unwrap();
    let ids: Vec<&str> = (last["output"].as_array().unwrap().iter())
        .map(|item| item["call_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["call_68ff_0", "same", "call_68ff_2", "call_68ff_3"]);
}

#[test]
fn only_citations_of_this_dialect_are_written() {
    let ours = json!({"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 1});
    let chat = json!({"type": "url_citation", "url_citation": {"url": "https://example.com"}});
    let anthropic = json!({"type": "char_location", "cited_text": "x"});
    let cite = |value: &Value| Event::Delta(Delta::Citation(value.clone()));
    let events = [
        start(),
        Event::Open(Block::Text),
        text("a"),
        cite(&ours),
        cite(&chat),
        cite(&anthropic),
        Event::Close,
        Event::End,
    ];
    let frames = write_all(&events, envelope());
    let last = check(&frames).unwrap();
    assert_eq!(
        last["output"][0]["content"][0]["annotations"],
        json!([ours])
    );
    assert!(read_frames(&frames).contains(&cite(&ours)));
}

#[test]
fn nothing_is_written_for_an_error_nor_after_the_end() {
    let mut writer = Writer::new(envelope());
    let mut out = Vec::new();
    let failed = Event::Failed(Failed {
        kind: "k".into(),
        message: "m".into(),
    });
    writer.event(&start(), &mut out);
    let begun = out.len();
    writer.event(&failed, &mut out);
    writer.event(&Event::Ping, &mut out);
    assert_eq!(out.len(), begun);
    writer.event(&Event::End, &mut out);
    let ended = out.len();
    writer.event(&Event::Open(Block::Text), &mut out);
    writer.event(&Event::End, &mut out);
    assert_eq!(out.len(), ended);
}

#[test]
fn the_built_in_answerer_is_marked() {
    let marked = Envelope {
        builtin: true,
        ..envelope()
    };
    let last = check(&write_all(&[start(), Event::End], marked)).unwrap();
    assert_eq!(last["gatehouse"], json!({"answerer": "built-in, no model"}));
    let last = check(&write_all(&[start(), Event::End], envelope())).unwrap();
    assert_eq!(last.get("gatehouse"), None);
}

#[test]
fn an_answer_that_was_cut_is_incomplete_and_says_why() {
    for (reason, status, details) in [
        (Some(Finish::Stop), "completed", Value::Null),
        (Some(Finish::Tool), "completed", Value::Null),
        (
            Some(Finish::Length),
            "incomplete",
            json!({"reason": "max_output_tokens"}),
        ),
        (
            Some(Finish::Filter),
            "incomplete",
            json!({"reason": "content_filter"}),
        ),
        (None, "incomplete", Value::Null),
    ] {
        let mut events = vec![start(), Event::Open(Block::Text), text("a"), Event::Close];
        events.extend(reason.map(|reason| Event::Finish {
            reason,
            stop_sequence: None,
        }));
        events.push(Event::End);
        let last = check(&write_all(&events, envelope())).unwrap();
        assert_eq!(last["status"], status);
        assert_eq!(last["incomplete_details"], details);
        assert_eq!(last["output"][0]["status"], status);
    }
}

#[test]
fn an_item_that_was_done_in_forwarded_frames_keeps_its_status_when_the_answer_is_cut() {
    let said = [start(), Event::Open(Block::Text), text("Hi"), Event::Close];
    let mut forwarded = write_all(
        &[&said[..], &[Event::Open(Block::Reasoning { id: None })]].concat(),
        envelope(),
    );
    let done = |frame: &Frame| frame.data.contains("response.output_item.done");
    forwarded.truncate(1 + forwarded.iter().position(done).unwrap());
    let (mut writer, _) = followed(&forwarded);
    writer.event(&Event::End, &mut forwarded);
    assert_eq!(check(&forwarded).err(), None);
}
