//! One attempt at one target: its connection, what has arrived of it, and what that means to the engine.

use std::pin::Pin;

use super::drive::media_refused;
use super::health::Lease;
use super::job::{Job, Wants};
use super::port::Port;
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::bound::Told;
use crate::domain::llm::dialect::{self, Invalid};
use crate::domain::llm::engine::failure::{Break, Failure, FailureKind};
use crate::domain::llm::engine::{AttemptId, Input, Mode, TargetId};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::Part;
use crate::domain::llm::normal::event::Failed;
use crate::domain::llm::normal::whole::Whole;
use crate::domain::llm::price::Consumed;
use crate::domain::llm::raw;
use crate::domain::llm::schema;
use crate::domain::llm::stream::inlet::{Inlet, Step};
use crate::domain::llm::tokens;
use crate::domain::llm::upstream::{self, UpstreamFault, UpstreamHead};
use crate::domain::settings::ActiveProvider;

/// Largest whole answer of a provider, in bytes after decompression: 8 MiB.
pub const MAX_ANSWER_BYTES: u64 = 8_388_608;
/// As much of a provider's error body as is worth reading.
const MAX_ERROR_BYTES: u64 = 65_536;

/// What arrives of an attempt.
pub enum Arrival {
    /// A place below the target's concurrency cap, or none.
    Lease(Result<(), Failure>),
    /// The head of the answer.
    Head(Result<UpstreamHead, UpstreamFault>),
    /// The body behind an error status.
    ErrorBody(UpstreamHead, Vec<u8>),
    /// A whole body.
    Whole(Option<String>, Result<Vec<u8>, UpstreamFault>),
    /// A piece of a stream; `None` at its end.
    Chunk(Result<Option<Vec<u8>>, UpstreamFault>),
}

type Pending = Pin<Box<dyn Future<Output = Arrival>>>;

/// A whole answer.
pub struct Body {
    /// As the provider sent it.
    pub bytes: Vec<u8>,
    /// Its content type.
    pub content_type: Option<String>,
    /// What it says, when it is a chat answer.
    pub whole: Option<Whole>,
}

/// One attempt.
pub struct Attempt<P: Port> {
    /// Its number.
    pub id: AttemptId,
    /// Where.
    pub target: TargetId,
    /// Fresh, or going on.
    pub mode: Mode,
    /// The connection; `None` until there is a place for it.
    pub call: Option<P::Call>,
    /// What is waited for.
    pub pending: Option<Pending>,
    /// Reads its stream.
    pub inlet: Option<Inlet>,
    /// Steps that came before it was committed.
    pub held: Vec<Step>,
    /// A whole answer that waits for its commitment.
    pub body: Option<Body>,
    /// Is it the one that is delivered?
    pub committed: bool,
    /// Has it been booked?
    pub booked: bool,
    port: P,
    native: bool,
    prepared: Option<Prepared>,
    /// The request is with the provider, which may count its tokens: until an error, or no connection, says otherwise.
    asked: bool,
    /// The provider may charge for it: until an error status says otherwise. Whether a request had arrived whose
    /// connection was lost before the head, nobody can tell.
    charged: bool,
    /// What a whole answer took.
    consumed: Option<Consumed>,
    token_told: bool,
    /// Its events are written anew, so that sound and pictures have no place.
    foreign: bool,
}

struct Prepared {
    url_path: String,
    content_type: String,
    bytes: Vec<u8>,
}

/// What an arrival means to the engine.
pub struct News {
    /// The engine's input.
    pub input: Input,
    /// What the caller would be told if this failure were the last word.
    pub refusal: Option<Refusal>,
}

impl From<Input> for News {
    fn from(input: Input) -> Self {
        Self {
            input,
            refusal: None,
        }
    }
}

impl<P: Port> Attempt<P> {
    /// Starts: asks for a place where the target has a cap, sends the request where it has none. `text` is what a
    /// continuation goes on from.
    pub fn start(
        port: &P,
        job: &Job,
        id: AttemptId,
        target: TargetId,
        mode: Mode,
        text: Option<&str>,
        lease: Option<Lease>,
    ) -> Self {
        let candidate = job.candidates.get(target);
        let stream = matches!(job.wants, Wants::Chat { stream: true, .. });
        let protocol = candidate.map_or(crate::domain::llm::Protocol::Chat, |c| c.protocol);
        let prepared = candidate.map(|candidate| {
            let (content_type, bytes) = candidate.body(mode, text);
            Prepared {
                url_path: candidate.path.clone(),
                content_type,
                bytes,
            }
        });
        let mut attempt = Self {
            id,
            target,
            mode,
            call: None,
            pending: None,
            inlet: stream.then(|| Inlet::new(protocol, job.keep)),
            held: Vec::new(),
            body: None,
            committed: false,
            booked: false,
            port: port.clone(),
            native: job.native,
            prepared,
            asked: false,
            charged: false,
            consumed: None,
            token_told: false,
            foreign: mode != Mode::Fresh
                || matches!(job.wants, Wants::Chat { protocol: own, .. } if own != protocol),
        };
        match lease {
            Some(lease) => {
                attempt.pending = Some(Box::pin(async move { Arrival::Lease(lease.await) }))
            }
            None => attempt.send(job),
        }
        attempt
    }

    fn send(&mut self, job: &Job) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        let candidate = job.candidates.get(self.target);
        let provider = candidate.and_then(|c| self.port.settings().providers.get(c.provider));
        let (Some(candidate), Some(provider)) = (candidate, provider) else {
            return;
        };
        let stream = self.inlet.is_some();
        let request = upstream::request(
            provider,
            candidate.protocol,
            &prepared.url_path,
            &prepared.content_type,
            &prepared.bytes,
            stream,
        );
        let call = self.port.call(request, stream && job.native);
        self.call = Some(call.clone());
        self.asked = true;
        self.charged = true;
        let port = self.port.clone();
        self.pending = Some(Box::pin(
            async move { Arrival::Head(port.head(&call).await) },
        ));
    }

    /// Closes the connection.
    pub fn abort(&mut self) {
        self.pending = None;
        if let Some(call) = &self.call {
            self.port.abort(call);
        }
    }

    /// What it took, for the log and the caller: as the provider told, or our estimate once the provider had the request
    /// and did not refuse it. What is given up before its head has come may well be charged. Budgets go by
    /// [`Attempt::told`] besides.
    pub fn consumed(&self, input_tokens: u64) -> Consumed {
        match (self.consumed, &self.inlet) {
            (Some(consumed), _) => consumed,
            (None, Some(inlet)) if self.asked => usage_of(inlet, input_tokens).into(),
            (None, None) if self.asked => estimated(input_tokens, 0).into(),
            _ => Consumed::default(),
        }
    }

    /// How much of it the provider told. What it may charge for and did not tell counts at its most.
    #[must_use]
    pub fn told(&self) -> Told {
        let seen = self.inlet.as_ref().map(Inlet::seen);
        match (self.consumed, seen) {
            _ if !self.charged => Told::Tokens,
            (Some(consumed), _) if consumed.usage.estimated => Told::Nothing,
            (Some(_), _) => Told::Tokens,
            (None, Some(seen)) if seen.usage_final => Told::Tokens,
            // Some servers begin with a count of zero, which no request has.
            (None, Some(seen)) if seen.usage.is_some_and(|usage| usage.input > 0) => Told::Input,
            _ => Told::Nothing,
        }
    }

    fn provider<'s>(&self, port: &'s P, job: &Job) -> Option<&'s ActiveProvider> {
        let candidate = job.candidates.get(self.target)?;
        port.settings().providers.get(candidate.provider)
    }

    /// Takes what arrived: steps of a stream, and what the engine must know.
    pub fn take(
        &mut self,
        port: &P,
        job: &Job,
        arrival: Arrival,
        steps: &mut Vec<Step>,
    ) -> Vec<News> {
        match arrival {
            Arrival::Lease(Ok(())) => {
                self.send(job);
                vec![Input::Sent { attempt: self.id }.into()]
            }
            Arrival::Lease(Err(failure)) => vec![self.failed(failure, None)],
            Arrival::Head(Err(fault)) => {
                self.asked = false;
                vec![self.fault(&fault)]
            }
            Arrival::Head(Ok(head)) => self.head(port, head),
            Arrival::ErrorBody(head, bytes) => {
                let key = self.provider(port, job).and_then(|p| p.key.as_ref());
                let (refusal, cause) = upstream::refusal(&head, &bytes, key, port.now());
                let failure = upstream::failure(&head, &bytes, port.now());
                vec![self.failed(failure, Some(refusal.cause(cause)))]
            }
            Arrival::Whole(_, Err(fault)) => vec![self.fault(&fault)],
            Arrival::Whole(content_type, Ok(bytes)) => self.whole(job, content_type, bytes),
            Arrival::Chunk(Err(fault)) => vec![self.cut(&fault)],
            Arrival::Chunk(Ok(None)) => {
                steps.extend(self.inlet.as_mut().and_then(Inlet::end));
                self.first_token()
                    .into_iter()
                    .chain(self.eof(job))
                    .collect()
            }
            Arrival::Chunk(Ok(Some(bytes))) => self.chunk(job, &bytes, steps),
        }
    }

    fn head(&mut self, port: &P, head: UpstreamHead) -> Vec<News> {
        let Some(call) = self.call.clone() else {
            return Vec::new();
        };
        let port = port.clone();
        if !(200..300).contains(&head.status) {
            self.asked = false;
            self.charged = false;
            self.pending = Some(Box::pin(async move {
                let bytes = port.rest(&call, MAX_ERROR_BYTES).await.unwrap_or_default();
                Arrival::ErrorBody(head, bytes)
            }));
            return Vec::new();
        }
        let events = head.content_type.as_deref().is_some_and(|t| {
            t.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        });
        if self.inlet.is_some() && events {
            self.read_on();
        } else {
            self.pending = Some(Box::pin(async move {
                let bytes = port.rest(&call, MAX_ANSWER_BYTES).await;
                Arrival::Whole(head.content_type, bytes)
            }));
        }
        Vec::new()
    }

    fn read_on(&mut self) {
        let Some(call) = self.call.clone() else {
            return;
        };
        let port = self.port.clone();
        self.pending = Some(Box::pin(
            async move { Arrival::Chunk(port.chunk(&call).await) },
        ));
    }

    /// A whole body: an answer, or what stands in the place of one.
    fn whole(&mut self, job: &Job, content_type: Option<String>, bytes: Vec<u8>) -> Vec<News> {
        let read = match job.wants {
            Wants::Raw { serves, asked } => {
                match raw::consumed(serves, &asked, content_type.as_deref(), &bytes) {
                    None => return vec![self.protocol("not an answer of this endpoint")],
                    consumed => self.consumed = consumed,
                }
                None
            }
            Wants::Chat { stream, .. } => {
                let protocol = job
                    .candidates
                    .get(self.target)
                    .map_or(crate::domain::llm::Protocol::Chat, |c| c.protocol);
                match dialect::read_whole(protocol, &bytes) {
                    Ok(mut whole) => {
                        // What is no answer may have cost something all the same.
                        let said = || tokens::parts(&whole.parts);
                        let usage = whole.usage;
                        let usage = usage.unwrap_or_else(|| estimated(job.input_tokens, said()));
                        self.consumed = Some(usage.into());
                        // So that it is told in a body that is written anew, too.
                        whole.usage = Some(usage);
                        if stream {
                            return vec![self.protocol("not an event stream")];
                        }
                        if whole.finish.is_none() {
                            return vec![self.protocol("no finish reason")];
                        }
                        if let Some(why) = unfit(job, &whole) {
                            return vec![self.unfit(why)];
                        }
                        if self.foreign && whole.parts.contains(&Part::Media) {
                            return vec![self.media()];
                        }
                        Some(whole)
                    }
                    Err(Invalid::Shape(why)) => return vec![self.protocol(why)],
                    Err(Invalid::Error(failed)) => return vec![self.failed_in_band(job, &failed)],
                }
            }
        };
        self.body = Some(Body {
            bytes,
            content_type,
            whole: read,
        });
        let attempt = self.id;
        vec![
            Input::Token { attempt }.into(),
            Input::Ended { attempt }.into(),
        ]
    }

    fn chunk(&mut self, job: &Job, bytes: &[u8], steps: &mut Vec<Step>) -> Vec<News> {
        let attempt = self.id;
        let Some(inlet) = self.inlet.as_mut() else {
            return Vec::new();
        };
        inlet.push(bytes, steps);
        let seen = inlet.seen();
        let bad = seen.malformed || seen.failed.is_some();
        let (ended, media) = (seen.ended, seen.media && self.foreign);
        let mut news: Vec<News> = Vec::new();
        if media && !self.token_told {
            return vec![self.media()];
        }
        if self.token_told {
            news.push(Input::Progress { attempt }.into());
        }
        news.extend(self.first_token());
        if media {
            news.push(self.broken(Break::Media));
        } else if bad || ended {
            news.extend(self.eof(job));
        } else {
            self.read_on();
        }
        news
    }

    /// The first output, told once.
    fn first_token(&mut self) -> Option<News> {
        let attempt = self.id;
        let output = self.inlet.as_ref().is_some_and(|inlet| inlet.seen().output);
        let first = output && !self.token_told;
        self.token_told |= output;
        first.then(|| Input::Token { attempt }.into())
    }

    /// Output that cannot be carried to the caller.
    fn media(&mut self) -> News {
        let failure = Failure::new(FailureKind::Rejected);
        self.failed(failure, Some(media_refused()))
    }

    /// The stream has come to its end, good or bad.
    fn eof(&mut self, job: &Job) -> Vec<News> {
        let attempt = self.id;
        let Some(inlet) = self.inlet.as_ref() else {
            return Vec::new();
        };
        let (seen, fault) = (inlet.seen(), inlet.fault());
        // A filter or a ceiling may leave an answer without a word; anything else that is empty is no answer.
        let bare = matches!(
            seen.finish,
            Some(Finish::Length | Finish::Filter | Finish::Pause)
        );
        match fault {
            None if self.token_told => vec![Input::Ended { attempt }.into()],
            None if bare => {
                self.token_told = true;
                vec![
                    Input::Token { attempt }.into(),
                    Input::Ended { attempt }.into(),
                ]
            }
            None => vec![self.unfit("an answer without a word")],
            Some(how) if self.token_told => vec![self.broken(how)],
            Some(Break::InBand) => {
                let failed = seen.failed.clone();
                failed
                    .map(|failed| self.failed_in_band(job, &failed))
                    .into_iter()
                    .collect()
            }
            Some(Break::Malformed) => vec![self.protocol("an event that cannot be read")],
            Some(_) => vec![self.failed(
                Failure::new(FailureKind::Cut),
                Some(Refusal::new(Code::UpstreamProtocol).cause("an empty stream")),
            )],
        }
    }

    fn broken(&mut self, how: Break) -> News {
        // What passes natively passes to its end, and the error comes behind it.
        if !self.native {
            self.close();
        }
        let seen = self.inlet.as_ref().map(Inlet::seen);
        let continuable = seen.is_some_and(|seen| !seen.tool_call && seen.finish.is_none());
        Input::Broken {
            attempt: self.id,
            how,
            continuable,
        }
        .into()
    }

    fn cut(&mut self, fault: &UpstreamFault) -> News {
        if self.token_told {
            let how = match fault {
                UpstreamFault::TooLarge => Break::TooLarge,
                _ => Break::Cut,
            };
            return self.broken(how);
        }
        self.fault(fault)
    }

    fn fault(&mut self, fault: &UpstreamFault) -> News {
        let kind = match fault {
            UpstreamFault::Unreachable(_) => FailureKind::Unreachable,
            UpstreamFault::Broken(_) => FailureKind::Cut,
            UpstreamFault::TooLarge => FailureKind::TooLarge,
        };
        let (refusal, cause) = fault.refusal();
        self.failed(Failure::new(kind), Some(refusal.cause(cause)))
    }

    /// An error object where an answer was to be.
    fn failed_in_band(&mut self, job: &Job, failed: &Failed) -> News {
        let port = self.port.clone();
        let key = self.provider(&port, job).and_then(|p| p.key.as_ref());
        let refusal = upstream::refusal_in_band(failed, key);
        self.failed(upstream::failure_in_band(failed), Some(refusal))
    }

    fn protocol(&mut self, why: &'static str) -> News {
        self.no_answer(FailureKind::Protocol, why)
    }

    fn unfit(&mut self, why: &'static str) -> News {
        self.no_answer(FailureKind::Unfit, why)
    }

    fn no_answer(&mut self, kind: FailureKind, why: &'static str) -> News {
        let refusal = Refusal::new(Code::UpstreamProtocol).cause(why);
        self.failed(Failure::new(kind), Some(refusal))
    }

    fn failed(&mut self, failure: Failure, refusal: Option<Refusal>) -> News {
        self.close();
        News {
            input: Input::Failed {
                attempt: self.id,
                failure,
            },
            refusal,
        }
    }

    /// Nothing more is wanted of the connection.
    fn close(&mut self) {
        self.pending = None;
        if let Some(call) = &self.call {
            self.port.abort(call);
        }
    }
}

/// What a stream took so far: as it told, or our estimate. What is told before the end counts the output only up to
/// then (Anthropic's `message_start` says 1), so that a stream that broke off is counted by what came of it.
#[must_use]
pub fn usage_of(inlet: &Inlet, input_tokens: u64) -> Usage {
    let seen = inlet.seen();
    let said = bytes_to_tokens(seen.output_bytes);
    match seen.usage {
        // Anthropic tells its input first and its output last: what came of a stream without an end is ours to count.
        Some(told) if !seen.usage_final => Usage {
            output: told.output.max(said),
            estimated: true,
            ..told
        },
        Some(told) => told,
        None => estimated(input_tokens, said),
    }
}

fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        estimated: true,
        ..Usage::default()
    }
}

/// About four bytes make a token, where only bytes are known.
#[must_use]
pub const fn bytes_to_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

/// Why an answer is none of what was asked.
fn unfit(job: &Job, whole: &Whole) -> Option<&'static str> {
    let bare = matches!(
        whole.finish,
        Some(Finish::Length | Finish::Filter | Finish::Pause)
    );
    if !bare && whole.is_empty() {
        return Some("an answer without a word");
    }
    // A tool call, a refusal and an answer that the ceiling cut are no structured output.
    let text_only = |part: &Part| matches!(part, Part::Text { .. } | Part::Reasoning(_));
    let structured = whole.finish == Some(Finish::Stop) && whole.parts.iter().all(text_only);
    let schema = job.schema.as_ref().filter(|_| structured)?;
    schema::fault(schema, &whole.text()).map(|_| "the answer does not follow the schema")
}
