//! One call of a provider: asked, judged, relayed, settled.

use super::gate::Caller;
use super::kept::{Slot, word};
use super::port::{FirstByte, Port, RelayEnd};
use super::render::{Form, rendered, stream_head};
use super::reply::{After, Body, Outcome, Reply};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::answer::split_for_stream;
use crate::domain::cache::Kept;
use crate::domain::llm::message::{Answer, Usage};
use crate::domain::llm::observe::{Observation, Observer};
use crate::domain::llm::read;
use crate::domain::llm::render::error_event;
use crate::domain::llm::upstream::{self, UpstreamFault, UpstreamHead};
use crate::domain::settings::ActiveProvider;
use crate::domain::settings::config::Deadlines;

/// Largest whole answer of a provider, in bytes after decompression: 8 MiB.
pub const MAX_ANSWER_BYTES: u64 = 8_388_608;
/// As much of a provider's error body as is worth reading.
const MAX_ERROR_BYTES: u64 = 65_536;

/// One call of a provider: all that outlives the request.
pub struct Call<P: Port> {
    /// The world.
    pub port: P,
    /// Who asks.
    pub caller: Caller,
    /// The alias that was asked for.
    pub alias: String,
    /// `provider/model`.
    pub target: String,
    /// The provider's model.
    pub model: String,
    /// How the caller wants the answer.
    pub form: Form,
    /// Bytes of the input, for the estimate where a provider reports no usage.
    pub input_bytes: u64,
    /// How long it may take.
    pub deadlines: Deadlines,
    /// Where the answer is kept, if it may be.
    pub slot: Option<Slot>,
    /// When the call began.
    pub began: Millis,
}

impl<P: Port> Call<P> {
    /// A kept answer.
    pub async fn look_up(&self) -> Option<Reply<P>> {
        let entry = self.slot.as_ref()?.look_up(&self.port).await?;
        let Kept::Answer(answer) = &entry.kept else {
            return None;
        };
        let age = self.port.now().since(entry.stored);
        let pieces = split_for_stream(&answer.text);
        let mut reply = rendered(&self.port, self.form, answer, &pieces, false)
            .header("x-cache", "hit")
            .header("age", age.secs().to_string());
        reply.outcome = Outcome {
            target: Some(entry.target.clone()),
            tokens_in: Some(0),
            tokens_out: Some(0),
            cache: Some("hit"),
            ..self.outcome()
        };
        Some(reply)
    }

    /// Asks the provider.
    ///
    /// # Errors
    /// What is known before the first byte; what comes later ends the stream with an error event.
    pub async fn ask(self, provider: &ActiveProvider, body: &[u8]) -> Result<Reply<P>, Refusal> {
        let request = upstream::request(
            provider,
            self.form.protocol,
            upstream::chat_path(self.form.protocol),
            body,
            self.form.stream,
        );
        let sent = self
            .port
            .send(request, Millis(self.deadlines.first_byte_ms))
            .await;
        let (head, body) = sent.map_err(|fault| refusal_of(&fault))?;
        if !(200..300).contains(&head.status) {
            return Err(failed(&self.port, provider, &head, body, self.deadlines).await);
        }
        let body = body.ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("no body"))?;
        if self.form.stream {
            self.relay(&head, body).await
        } else {
            self.whole(body).await
        }
    }

    /// A whole answer: read, judged, sent as it came.
    async fn whole(self, body: P::Stream) -> Result<Reply<P>, Refusal> {
        let bytes = self
            .port
            .read(body, MAX_ANSWER_BYTES, self.first_byte_left(), self.left())
            .await
            .map_err(|fault| refusal_of(&fault))?;
        let read =
            read::whole(self.form.protocol, &bytes, self.input_bytes).map_err(|invalid| {
                Refusal::new(Code::UpstreamProtocol).cause(format!("{invalid:?}"))
            })?;
        let outcome = self.settled(read.usage);
        let mut reply = Reply::json(200, bytes).header("x-cache", self.cache_word());
        reply.outcome = outcome.clone();
        if let (Some(answer), Some(_)) = (read.plain, &self.slot) {
            reply.after = Some(Box::pin(async move {
                self.keep(answer).await;
                outcome
            }));
        }
        Ok(reply)
    }

    /// A streamed answer: passed through byte for byte, observed on the side.
    async fn relay(self, head: &UpstreamHead, body: P::Stream) -> Result<Reply<P>, Refusal> {
        let is_stream = head.content_type.as_deref().is_some_and(|t| {
            t.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        });
        if !is_stream {
            return Err(Refusal::new(Code::UpstreamProtocol).cause("not an event stream"));
        }
        let body = match self.port.first_byte(body, self.first_byte_left()).await {
            FirstByte::Began(body) => body,
            FirstByte::Empty => {
                return Err(Refusal::new(Code::UpstreamProtocol).cause("an empty stream"));
            }
            FirstByte::TimedOut => return Err(Refusal::new(Code::UpstreamTimeout)),
            FirstByte::Broken(cause) => {
                return Err(Refusal::new(Code::UpstreamDisconnected).cause(cause));
            }
        };
        let observer = Observer::new(self.form.protocol, self.slot.is_some(), self.input_bytes);
        let deadlines = Deadlines {
            total_ms: self.left().0,
            ..self.deadlines
        };
        let (protocol, request_id) = (self.form.protocol, self.caller.request_id.clone());
        let closing = Box::new(move |end: RelayEnd, seen: &Observation| {
            let code = failure(end, seen)?;
            // An error that came inside the stream has reached the client already.
            (!seen.failed).then(|| {
                error_event(
                    protocol,
                    &Refusal::new(code),
                    &request_id,
                    seen.inside_event,
                )
            })
        });
        let (stream, done) = self.port.relay(body, observer, deadlines, closing);
        let mut reply = stream_head(Reply::status(200)).header("x-cache", self.cache_word());
        reply.body = Body::Stream(stream);
        let after: After = Box::pin(async move {
            let (end, seen) = done.await;
            let mut outcome = self.settled(seen.usage);
            outcome.code = failure(end, &seen);
            outcome.cause = Some(cause(end, &seen).to_owned());
            if let (RelayEnd::Ended, Some(answer)) = (end, seen.answer) {
                self.keep(answer).await;
            }
            outcome
        });
        reply.after = Some(after);
        Ok(reply)
    }

    async fn keep(&self, answer: Answer) {
        if let Some(slot) = &self.slot {
            let target = self.target.clone();
            slot.keep(&self.port, &self.caller, target, Kept::Answer(answer))
                .await;
        }
    }

    /// What is left of the total deadline.
    fn left(&self) -> Millis {
        Millis(
            self.deadlines
                .total_ms
                .saturating_sub(self.spent().0)
                .max(1),
        )
    }

    /// What is left of the first-byte deadline.
    fn first_byte_left(&self) -> Millis {
        Millis(
            self.deadlines
                .first_byte_ms
                .saturating_sub(self.spent().0)
                .max(1),
        )
    }

    fn spent(&self) -> Millis {
        self.port.now().since(self.began)
    }

    const fn cache_word(&self) -> &'static str {
        word(self.slot.as_ref())
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            alias: Some(self.alias.clone()),
            target: Some(self.target.clone()),
            cache: Some(self.cache_word()),
            stream: Some(self.form.stream),
            ..Outcome::default()
        }
    }

    fn settled(&self, usage: Usage) -> Outcome {
        Outcome {
            tokens_in: Some(usage.input),
            tokens_out: Some(usage.output),
            tokens_estimated: usage.estimated,
            cost_micros: self.port.settings().cost_micros(
                &self.model,
                usage.input,
                usage.cached,
                usage.output,
            ),
            ..self.outcome()
        }
    }
}

/// A fault on the way to or from a provider, as the caller sees it.
#[must_use]
pub fn refusal_of(fault: &UpstreamFault) -> Refusal {
    let (refusal, cause) = fault.refusal();
    refusal.cause(cause)
}

/// A provider's answer with an error status.
pub async fn failed<P: Port>(
    port: &P,
    provider: &ActiveProvider,
    head: &UpstreamHead,
    body: Option<P::Stream>,
    deadlines: Deadlines,
) -> Refusal {
    let patience = Millis(deadlines.idle_ms);
    let bytes = match body {
        Some(body) => port
            .read(body, MAX_ERROR_BYTES, patience, patience)
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let (refusal, cause) = upstream::refusal(head, &bytes, provider.key.as_ref(), port.now());
    refusal.cause(cause)
}

/// What a stream's end means: `None` for a whole answer, and for one that the client itself gave up.
const fn failure(end: RelayEnd, seen: &Observation) -> Option<Code> {
    if seen.failed {
        return Some(Code::UpstreamError);
    }
    if seen.malformed {
        return Some(Code::UpstreamProtocol);
    }
    if seen.ended {
        return None;
    }
    match end {
        RelayEnd::ClientGone => None,
        RelayEnd::Ended | RelayEnd::Broken => Some(Code::UpstreamDisconnected),
        RelayEnd::Stalled => Some(Code::UpstreamStalled),
        RelayEnd::Overran => Some(Code::UpstreamDeadline),
    }
}

const fn cause(end: RelayEnd, seen: &Observation) -> &'static str {
    match end {
        RelayEnd::ClientGone => "the client went away",
        RelayEnd::Ended if !seen.ended => "the stream ended without its end marker",
        RelayEnd::Broken => "the upstream connection broke",
        RelayEnd::Stalled => "nothing came for the idle deadline",
        RelayEnd::Overran => "the total deadline passed",
        RelayEnd::Ended => "",
    }
}
