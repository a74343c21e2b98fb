//! A caller's stream, checked by the grammars that know nothing of our writers, and read by our readers.

use gatehouse::base::sse::Parser;
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::llm::dialect::StreamReader;
use gatehouse::domain::llm::normal::event::Frame;
use gatehouse::domain::llm::normal::whole::{Collector, Whole};

#[path = "../../src/domain/llm/dialect/chat/stream/grammar.rs"]
mod chat;
#[path = "../../src/domain/llm/dialect/messages/stream/grammar.rs"]
mod messages;
#[path = "../../src/domain/llm/dialect/responses/stream/grammar.rs"]
mod responses;

/// The frames of a stream.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut parser = Parser::default();
    parser
        .push(bytes, |event| {
            let name = event.event.to_owned();
            frames.push(Frame {
                event: (name != "message").then(|| &*name.leak()),
                data: event.data.to_owned(),
            });
        })
        .unwrap();
    assert!(!parser.pending(), "half an event at the end");
    frames
}

/// Checks a whole stream by its dialect's grammar, and reads it.
pub fn check(protocol: Protocol, bytes: &[u8], include_usage: bool) -> Whole {
    let frames = frames(bytes);
    let checked = match protocol {
        Protocol::Chat => chat::check(&frames, include_usage),
        Protocol::Messages => messages::check(&frames),
        Protocol::Responses => responses::check(&frames).map(drop),
    };
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(checked, Ok(()), "{}:\n{text}", protocol.name());
    read(protocol, &frames)
        .finished()
        .unwrap_or_else(|| panic!("not whole: {text}"))
        .clone()
}

/// What a caller's reader makes of a stream that need not be whole. The error that ends it is no answer any more.
pub fn read(protocol: Protocol, frames: &[Frame]) -> Collector {
    let mut reader = StreamReader::new(protocol);
    let mut collector = Collector::default();
    for frame in frames {
        let mut events = Vec::new();
        let read = reader.event(&frame.data, &mut events);
        events.iter().for_each(|event| collector.push(event));
        if read.is_err() {
            break;
        }
    }
    collector
}
