//! An answer in normal form as a reply: what the cache and the built-in answerer send.

use super::call::Wishes;
use super::port::Port;
use super::reply::Reply;
use crate::base::digest::base64url;
use crate::base::sse::write_event;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::dialect::{self, StreamWriter};
use crate::domain::llm::message::Answer;
use crate::domain::llm::normal::conversation::Part;
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event};
use crate::domain::llm::normal::whole::Whole;
use crate::domain::llm::stream::delivery::full_id;

/// How a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// In which protocol.
    pub protocol: Protocol,
    /// As a stream?
    pub stream: bool,
    /// With the usage chunk (OpenAI chat streams)?
    pub include_usage: bool,
}

/// An id of an answer: 128 random bits, so that it can serve as the key to the stored answer.
#[must_use]
pub fn new_id(port: &impl Port) -> String {
    base64url(&port.random::<16>())
}

/// What stands on an answer that we write.
#[must_use]
pub fn envelope(port: &impl Port, form: Form, id: &str, estimated_input: u64) -> Envelope {
    Envelope {
        id: id.to_owned(),
        created: port.now(),
        estimated_input,
        include_usage: form.include_usage,
        builtin: false,
    }
}

/// How an answer that is there is told.
pub struct Rendering<'a> {
    /// How its caller wants it.
    pub form: Form,
    /// And what else.
    pub wishes: &'a Wishes,
    /// What a response repeats of its request.
    pub echo: Option<Echo>,
    /// It is the built-in answerer's.
    pub builtin: bool,
}

/// Renders an answer; `pieces` joined are its text.
pub fn rendered<P: Port>(
    port: &P,
    how: Rendering<'_>,
    answer: &Answer,
    pieces: &[String],
) -> Reply<P> {
    let Rendering {
        form,
        wishes,
        echo,
        builtin,
    } = how;
    let echo = echo.map(|echo| echo.where_stored(wishes.numbered));
    let envelope = Envelope {
        builtin,
        ..envelope(port, form, &wishes.id, answer.usage.input)
    };
    let reply = if form.stream {
        let numbered = wishes.numbered;
        let bytes = streamed(
            form.protocol,
            answer,
            pieces,
            envelope,
            numbered,
            echo.as_ref(),
        );
        stream_head(Reply::status(200)).bytes(bytes)
    } else {
        let whole = Whole {
            id: String::new(),
            model: answer.model.clone(),
            parts: vec![Part::text(&answer.text)],
            finish: Some(answer.finish),
            stop_sequence: None,
            usage: Some(answer.usage),
        };
        let mut body = dialect::write_whole(form.protocol, &whole, &envelope);
        if let (Some(echo), Some(body)) = (echo, body.as_object_mut()) {
            echo.put(body, false);
        }
        Reply::json(200, body.to_string())
    };
    if wishes.numbered {
        reply.header(
            "x-gatehouse-response-id",
            full_id(form.protocol, &wishes.id),
        )
    } else {
        reply
    }
}

fn streamed(
    protocol: Protocol,
    answer: &Answer,
    pieces: &[String],
    envelope: Envelope,
    numbered: bool,
    echo: Option<&Echo>,
) -> Vec<u8> {
    let mut events = vec![
        Event::Start {
            id: String::new(),
            model: answer.model.clone(),
        },
        Event::Open(Block::Text),
    ];
    events.extend(pieces.iter().map(|p| Event::Delta(Delta::Text(p.clone()))));
    events.extend([
        Event::Close,
        Event::Usage(answer.usage),
        Event::Finish {
            reason: answer.finish,
            stop_sequence: None,
        },
        Event::End,
    ]);
    let mut writer = StreamWriter::new(protocol, envelope);
    let mut frames = Vec::new();
    for event in &events {
        writer.event(event, &mut frames);
    }
    let mut out = Vec::with_capacity(answer.text.len().saturating_mul(2));
    let mut number: u64 = 0;
    let mut write = |event: Option<&str>, data: &str| {
        if numbered {
            out.extend_from_slice(format!("id: {number}\n").as_bytes());
        }
        number = number.saturating_add(1);
        write_event(&mut out, event, data);
    };
    let mut search_told = false;
    for frame in frames {
        if !search_told && let Some(echo) = echo.filter(|echo| echo.searched()) {
            for (name, data) in echo.opening(&frame.data) {
                search_told = true;
                write(Some(name), &data);
            }
        }
        let echoed = echo.and_then(|echo| echo.event(&frame.data, false));
        write(frame.event, echoed.as_deref().unwrap_or(&frame.data));
    }
    out
}

/// The headers of an event stream, which nothing on the way may hold back.
pub fn stream_head<P: Port>(reply: Reply<P>) -> Reply<P> {
    reply
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-store, no-transform")
        .header("x-accel-buffering", "no")
}

/// The text of a whole answer, also of one that the output ceiling cut.
#[must_use]
pub fn plain_text(protocol: Protocol, bytes: &[u8]) -> Option<String> {
    dialect::read_whole(protocol, bytes)
        .ok()
        .map(|whole| whole.text())
}
