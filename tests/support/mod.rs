//! What the tests of the stories share: a fake world, and a way to run futures step by step.

#![allow(dead_code, reason = "every test file uses another part of this")]

pub mod fake_port;
pub mod operator;
pub mod pipe;
pub mod run;
pub mod streams;
pub mod upstream;

use std::collections::VecDeque;

use gatehouse::app::port::{ByteSource, PortFault};
use gatehouse::app::reply::{Body, Outcome, Reply};
use gatehouse::base::time::Millis;

use fake_port::FakePort;
use pipe::Got;
use run::{block_on, both, settle, step};

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
    /// The pieces of a streamed body, and when they came.
    pub pieces: Vec<(Millis, Vec<u8>)>,
    /// Why the body broke off, if it did.
    pub broken: Option<String>,
    /// What the log line learned.
    pub outcome: Outcome,
}

impl Received {
    /// Receives an answer while the work that is left after it is done.
    pub fn from(reply: Reply<FakePort>) -> Self {
        let received = block_on(Self::of(reply));
        settle();
        received
    }

    /// The same, beside others.
    pub async fn of(reply: Reply<FakePort>) -> Self {
        let after = async {
            match reply.after {
                Some(after) => after.await,
                None => reply.outcome,
            }
        };
        let reading = async {
            match reply.body {
                Body::Empty => (Vec::new(), Got::default()),
                Body::Bytes(bytes) => (bytes, Got::default()),
                Body::Stream(stream) => {
                    let got = stream.receive().await;
                    let pieces = got.pieces.iter().map(|(_, bytes)| bytes.as_slice());
                    (pieces.collect::<Vec<_>>().concat(), got)
                }
            }
        };
        let (outcome, (body, got)) = both(after, reading).await;
        Self {
            status: reply.status,
            headers: reply.headers,
            body,
            pieces: got.pieces,
            broken: got.broken,
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

    /// The code of a refusal, or of the error that ends a stream.
    pub fn code(&self) -> Option<String> {
        let value = match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(_) => {
                let last = self.text().trim_end().rsplit("data: ").next()?.to_owned();
                serde_json::from_str::<serde_json::Value>(&last).ok()?
            }
        };
        let ours = value["error"].get("gatehouse").or(value.get("gatehouse"))?;
        Some(ours["code"].as_str()?.to_owned())
    }
}
