//! Scripted providers: what each request meets, piece by piece and with delays.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use gatehouse::base::time::Millis;
use gatehouse::domain::llm::upstream::{UpstreamFault, UpstreamHead};
use serde_json::{Value, json};

use super::run::{Clock, either, moved, step, until};

/// A piece of a scripted body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// Nothing comes for that long.
    Silence(Millis),
    /// The connection breaks.
    Broken(String),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

/// What a request to the upstream meets.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// The head comes after that time.
    delay: Millis,
    head: Result<UpstreamHead, UpstreamFault>,
    pieces: Vec<Piece>,
}

impl Scripted {
    /// An answer of that status and content type.
    pub fn answer(
        status: u16,
        content_type: &str,
        pieces: impl IntoIterator<Item = Piece>,
    ) -> Self {
        let head = UpstreamHead {
            status,
            content_type: Some(content_type.to_owned()),
            ..UpstreamHead::default()
        };
        Self::of(head, pieces)
    }

    pub fn of(head: UpstreamHead, pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            delay: Millis(0),
            head: Ok(head),
            pieces: pieces.into_iter().collect(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::answer(status, "application/json", [body.to_string().into()])
    }

    /// An event stream.
    pub fn events(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::answer(200, "text/event-stream", pieces)
    }

    /// No answer.
    pub fn refused() -> Self {
        Self::fault(UpstreamFault::Unreachable("connection refused".into()))
    }

    pub fn fault(fault: UpstreamFault) -> Self {
        Self {
            delay: Millis(0),
            head: Err(fault),
            pieces: Vec::new(),
        }
    }

    /// An error status, with how long to wait.
    pub fn error(status: u16, retry_after: Option<&str>) -> Self {
        let head = UpstreamHead {
            status,
            content_type: Some("application/json".into()),
            retry_after: retry_after.map(str::to_owned),
            ..UpstreamHead::default()
        };
        Self::of(head, ["{\"error\":{\"message\":\"no\"}}".into()])
    }

    /// The same, but its head comes later.
    pub fn after(mut self, delay: Millis) -> Self {
        self.delay = delay;
        self
    }
}

/// A request that went upstream.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Millis,
    pub url: String,
    /// The header that carries the key, and its value.
    pub key: Option<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Was the connection closed before the answer had come whole?
    aborted: Rc<Cell<bool>>,
}

impl Sent {
    pub fn new(
        at: Millis,
        url: String,
        key: Option<(&'static str, String)>,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Self {
        Self {
            at,
            url,
            key,
            headers,
            body,
            aborted: Rc::default(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn model(&self) -> String {
        if let Some((_, rest)) =
            String::from_utf8_lossy(&self.body).split_once("name=\"model\"\r\n\r\n")
        {
            return rest.split("\r\n").next().unwrap_or_default().to_owned();
        }
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        body.and_then(|body| Some(body.get("model")?.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    pub fn aborted(&self) -> bool {
        self.aborted.get()
    }
}

/// A request that is under way; clones are the same one.
#[derive(Clone)]
pub struct FakeCall(Rc<State>);

struct State {
    clock: Rc<Clock>,
    head: RefCell<Option<Result<UpstreamHead, UpstreamFault>>>,
    pieces: RefCell<VecDeque<Piece>>,
    /// Nothing comes before then.
    silent_until: Cell<Millis>,
    /// What was read of a teed body.
    read: RefCell<Vec<Vec<u8>>>,
    tee: bool,
    closed: Cell<bool>,
    aborted: Rc<Cell<bool>>,
}

impl FakeCall {
    pub fn new(clock: &Rc<Clock>, scripted: Scripted, tee: bool, sent: &Sent) -> Self {
        Self(Rc::new(State {
            clock: Rc::clone(clock),
            silent_until: Cell::new(clock.now().plus(scripted.delay)),
            head: RefCell::new(Some(scripted.head)),
            pieces: RefCell::new(scripted.pieces.into()),
            read: RefCell::default(),
            tee,
            closed: Cell::default(),
            aborted: Rc::clone(&sent.aborted),
        }))
    }

    pub async fn head(&self) -> Result<UpstreamHead, UpstreamFault> {
        step().await;
        self.silence().await.map_err(UpstreamFault::Unreachable)?;
        let head = self.0.head.borrow_mut().take();
        head.expect("the head is asked for once")
    }

    /// The next piece.
    pub async fn chunk(&self) -> Result<Option<Vec<u8>>, UpstreamFault> {
        loop {
            step().await;
            self.silence().await.map_err(UpstreamFault::Broken)?;
            let piece = self.0.pieces.borrow_mut().pop_front();
            match piece {
                None => return Ok(None),
                Some(Piece::Silence(time)) => {
                    self.0.silent_until.set(self.0.clock.now().plus(time));
                }
                Some(Piece::Broken(cause)) => {
                    self.0.pieces.borrow_mut().clear();
                    return Err(UpstreamFault::Broken(cause));
                }
                Some(Piece::Bytes(bytes)) => {
                    if self.0.tee {
                        self.0.read.borrow_mut().push(bytes.clone());
                    }
                    return Ok(Some(bytes));
                }
            }
        }
    }

    /// Waits until something comes; an abort ends the wait.
    async fn silence(&self) -> Result<(), String> {
        let closed = || Err("aborted".to_owned());
        if self.0.closed.get() {
            return closed();
        }
        let quiet = self.0.clock.until(self.0.silent_until.get());
        match either(quiet, until(|| self.0.closed.get())).await {
            Ok(()) => Ok(()),
            Err(()) => closed(),
        }
    }

    pub async fn rest(&self, cap: u64) -> Result<Vec<u8>, UpstreamFault> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            whole.extend(bytes);
            if whole.len() as u64 > cap {
                return Err(UpstreamFault::TooLarge);
            }
        }
        Ok(whole)
    }

    /// What was read already of a teed body.
    pub fn teed(&self) -> Vec<Vec<u8>> {
        assert!(self.0.tee, "only a teed call can be relayed");
        self.0.read.take()
    }

    pub fn abort(&self) {
        let more = self.0.head.borrow().is_some() || !self.0.pieces.borrow().is_empty();
        let silent = self.0.clock.now() < self.0.silent_until.get();
        self.0.aborted.set(self.0.aborted.get() || more || silent);
        self.0.closed.set(true);
        moved();
    }
}

/// A provider of OpenAI's chat that says hello: two tokens in, two out.
pub fn said_hello() -> Scripted {
    let message = json!({"role": "assistant", "content": "Hello."});
    let whole = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_795_219_200,
        "model": "gpt",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
    });
    Scripted::json(200, &whole)
}
