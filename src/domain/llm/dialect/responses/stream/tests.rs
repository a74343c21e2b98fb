use serde_json::{Value, json};

use super::{Reader, Writer};
use crate::base::sse::{Parser, write_event};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::normal::event::{Delta, Envelope, Event, Frame};

macro_rules! golden {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!(
                "../../../../../../tests/golden/responses/",
                $name,
                ".answer.json"
            )),
            include_str!(concat!(
                "../../../../../../tests/golden/responses/",
                $name,
                ".stream.sse"
            )),
        )
    };
}

mod reading;
mod writing;

const GOLDEN: [(&str, &str, &str); 14] = [
    golden!("text"),
    golden!("system"),
    golden!("turns"),
    golden!("images"),
    golden!("file"),
    golden!("tools"),
    golden!("tool_results"),
    golden!("schema"),
    golden!("stop_length"),
    golden!("stop_sequence"),
    golden!("stop_filter"),
    golden!("reasoning"),
    golden!("cache"),
    golden!("usage"),
];

fn golden(name: &str) -> &'static str {
    GOLDEN
        .iter()
        .find(|(feature, ..)| *feature == name)
        .unwrap()
        .2
}

fn read_bytes<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::default();
    let mut reader = Reader::default();
    let mut read = Vec::new();
    for piece in pieces {
        parser
            .push(piece, |event| reader.event(event.data, &mut read).unwrap())
            .unwrap();
    }
    read
}

fn read_all(data: &[Value]) -> Result<Vec<Event>, Invalid> {
    let mut reader = Reader::default();
    let mut read = Vec::new();
    for event in data {
        reader.event(&event.to_string(), &mut read)?;
    }
    Ok(read)
}

fn write_all(events: &[Event], envelope: Envelope) -> Vec<Frame> {
    let mut writer = Writer::new(envelope);
    let mut frames = Vec::new();
    for event in events {
        writer.event(event, &mut frames);
    }
    frames
}

fn read_frames(frames: &[Frame]) -> Vec<Event> {
    let mut bytes = Vec::new();
    for frame in frames {
        write_event(&mut bytes, frame.event, &frame.data);
    }
    read_bytes([bytes.as_slice()])
}

fn text(text: &str) -> Event {
    Event::Delta(Delta::Text(text.into()))
}

fn arguments(text: &str) -> Event {
    Event::Delta(Delta::Arguments(text.into()))
}

fn start() -> Event {
    Event::Start {
        id: "resp_1".into(),
        model: "m".into(),
    }
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}
