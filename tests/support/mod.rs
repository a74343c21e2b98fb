//! What the tests of the stories share: a fake world, and a way to run futures step by step.

#![allow(dead_code, reason = "every test file uses another part of this")]

pub mod fake_port;
pub mod run;

use std::collections::VecDeque;

use gatehouse::app::port::{ByteSource, PortFault};
use gatehouse::app::reply::{Body, Outcome, Reply};

use fake_port::{FakePort, FakeStream};
use run::{block_on, step};

/// A request body that arrives in pieces.
pub struct FakeBody {
    pieces: VecDeque<Result<Vec<u8>, PortFault>>,
    /// How many pieces were asked for.
    pub read: usize,
}

impl FakeBody {
    /// A whole body in pieces of `size` bytes.
    pub fn whole(bytes: &[u8], size: usize) -> Self {
        let pieces = bytes.chunks(size).map(|piece| Ok(piece.to_vec())).collect();
        Self { pieces, read: 0 }
    }

    /// A body whose connection breaks after these bytes.
    pub fn cut(bytes: &[u8], size: usize) -> Self {
        let mut body = Self::whole(bytes, size);
        body.pieces
            .push_back(Err(PortFault("the connection broke".into())));
        body
    }
}

impl ByteSource for FakeBody {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        step().await;
        self.read += 1;
        self.pieces.pop_front()
    }
}

/// An answer after its last byte.
#[derive(Debug)]
pub struct Received {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Why the body broke off, if it did.
    pub broken: Option<String>,
    /// What the log line learned.
    pub outcome: Outcome,
}

impl Received {
    /// Receives an answer and does the work that is left after it.
    pub fn from(reply: Reply<FakePort>) -> Self {
        let outcome = match reply.after {
            Some(after) => block_on(after),
            None => reply.outcome,
        };
        let (body, broken) = match reply.body {
            Body::Empty => (Vec::new(), None),
            Body::Bytes(bytes) => (bytes, None),
            Body::Stream(stream) => FakeStream::drain(&stream),
        };
        Self {
            status: reply.status,
            headers: reply.headers,
            body,
            broken,
            outcome,
        }
    }

    /// The value of a header that must not stand twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| *n == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
