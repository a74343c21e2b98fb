//! The most that a call can take, before it is made: what a budget reserves.
//!
//! A tokenizer makes at most one token of each byte of UTF-8, so that the bytes that are sent, and a little for the
//! frames that providers put around messages, bound the input; the ceiling that is sent bounds the output; and every
//! attempt that the rules allow may be charged. What has no such bound is told as having none.
//!
//! Afterwards an attempt counts as its provider told; whatever was not told stays at its most.

use serde_json::{Map, Value};

use super::Protocol;
use super::message::Usage;
use super::plan::{Candidate, Payload, is_costly};
use super::price::{Consumed, Micros, cost, find};
use super::raw::Asked;
use crate::base::time::Millis;
use crate::domain::settings::config::{Price, Serves};

/// Tokens that a provider may put around one message, one tool or one part: special tokens, role, separators. The
/// published counts are 3 to 20; this is twice the most.
const FRAME_TOKENS: u64 = 40;
/// Tokens that a provider puts before everything: tool use instructions of up to 530 (Anthropic's documentation), twice.
const HEAD_TOKENS: u64 = 1060;
/// A continuation sends what was said so far: by another tokenizer one token may become several.
const RETOLD: u64 = 8;
/// Most pictures that a form may ask for, as OpenAI documents it.
pub const MAX_FORM_IMAGES: u64 = 10;

/// The most that a call can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Tokens in and out.
    pub tokens: u64,
    /// Money; `None` when nothing bounds it, or a target has no price.
    pub cost: Option<Micros>,
}

/// What is bounded.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// A chat; may a broken answer be gone on with?
    Chat {
        /// `rescue` of the alias.
        rescue: bool,
    },
    /// A body that is passed on.
    Raw(Serves, &'a Asked),
}

/// The most that all attempts of a call can take together: as many as are allowed, each at the dearest target.
#[must_use]
pub fn bound(
    prices: &[Price],
    candidates: &[Candidate],
    call: Call<'_>,
    attempts: u32,
    now: Millis,
) -> Bound {
    let mut tokens = 0;
    let mut dearest = Some(Micros::ZERO);
    for candidate in candidates {
        let price = find(prices, &candidate.provider_name, &candidate.model, now);
        let most = one(candidate, price, call);
        let used = most.map_or(0, |most| most.usage.input.saturating_add(most.usage.output));
        tokens = used.max(tokens);
        dearest = match (dearest, most, price) {
            (Some(so_far), Some(most), Some(price)) => Some(dear(&most, price).max(so_far)),
            _ => None,
        };
    }
    let times = u64::from(attempts.max(1));
    Bound {
        tokens: tokens.saturating_mul(times),
        cost: dearest.map(|cost| Micros(cost.0.saturating_mul(times))),
    }
}

/// How much an attempt's provider told of what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing, or nothing that is final.
    Nothing,
    /// The tokens that went in.
    Input,
    /// All tokens.
    Tokens,
}

/// What a budget books of one attempt that its provider may charge: what was told, and the most of everything else.
/// `seen` is what was told or estimated. What has no bound had nothing reserved, and counts as seen.
#[must_use]
pub fn booked(
    prices: &[Price],
    candidate: &Candidate,
    call: Call<'_>,
    (seen, told): (&Consumed, Told),
    now: Millis,
) -> Bound {
    let price = find(prices, &candidate.provider_name, &candidate.model, now);
    let as_seen = Bound {
        tokens: seen.usage.input.saturating_add(seen.usage.output),
        cost: price.map(|price| cost(seen, price)),
    };
    if told == Told::Tokens && !seen.audio_estimated {
        return as_seen;
    }
    let Some(most) = one(candidate, price, call) else {
        return as_seen;
    };
    let output = most.usage.output.max(seen.usage.output);
    let usage = match told {
        Told::Tokens => seen.usage,
        Told::Input => Usage {
            output,
            ..seen.usage
        },
        Told::Nothing => Usage {
            input: most.usage.input.max(seen.usage.input),
            output,
            ..Usage::default()
        },
    };
    let audio = if seen.audio_estimated || seen.audio == Millis::ZERO {
        most.audio.max(seen.audio)
    } else {
        seen.audio
    };
    let all = Consumed {
        usage,
        // An answer with pictures tells their number.
        images: if seen.images > 0 {
            seen.images
        } else {
            most.images
        },
        audio,
        characters: most.characters.max(seen.characters),
        audio_estimated: false,
    };
    Bound {
        tokens: usage.input.saturating_add(usage.output),
        cost: price.map(|price| match told {
            Told::Tokens => cost(&all, price),
            Told::Input => dearest_output(&all, price),
            Told::Nothing => dear(&all, price),
        }),
    }
}

/// One attempt; `None` when nothing bounds it.
fn one(candidate: &Candidate, price: Option<&Price>, call: Call<'_>) -> Option<Consumed> {
    match call {
        Call::Chat { rescue } => chat(candidate, price, rescue),
        Call::Raw(serves, asked) => raw(candidate, price, serves, asked),
    }
}

/// The cost when every token that comes out is of the dearest kind.
fn dearest_output(most: &Consumed, price: &Price) -> Micros {
    let of = |reasoning| {
        let usage = Usage {
            reasoning,
            ..most.usage
        };
        cost(&Consumed { usage, ..*most }, price)
    };
    of(0).max(of(most.usage.output))
}

/// The cost when every token is of the dearest kind.
fn dear(most: &Consumed, price: &Price) -> Micros {
    let usage = most.usage;
    [
        usage,
        Usage {
            cached: usage.input,
            ..usage
        },
        Usage {
            written_5m: usage.input,
            ..usage
        },
        Usage {
            written_1h: usage.input,
            ..usage
        },
    ]
    .into_iter()
    .map(|usage| dearest_output(&Consumed { usage, ..*most }, price))
    .max()
    .unwrap_or_default()
}

/// One attempt at a chat; `None` when nothing bounds it.
fn chat(candidate: &Candidate, price: Option<&Price>, rescue: bool) -> Option<Consumed> {
    let Payload::Json(body) = &candidate.payload else {
        return None;
    };
    let output = ceiling(candidate.protocol, body)?;
    let mut seen = Seen::default();
    seen.body(candidate.protocol, body);
    if seen.unbounded {
        return None;
    }
    let images = match (seen.images, price.and_then(|price| price.max_image_tokens)) {
        (0, _) => 0,
        (count, most) => count.saturating_mul(most?),
    };
    let said = if rescue {
        output.saturating_mul(RETOLD)
    } else {
        0
    };
    let input = [
        seen.text_bytes,
        seen.frames.saturating_mul(FRAME_TOKENS),
        HEAD_TOKENS,
        images,
        said,
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    Some(tokens(input, output))
}

/// The ceiling of the output that is sent, for all choices together. Of several the highest counts: which of them a
/// provider obeys is its own affair.
fn ceiling(protocol: Protocol, body: &Map<String, Value>) -> Option<u64> {
    let names: &[&str] = match protocol {
        Protocol::Chat => &["max_completion_tokens", "max_tokens"],
        Protocol::Responses => &["max_output_tokens"],
        Protocol::Messages => &["max_tokens"],
    };
    let each = names.iter().filter_map(|name| body.get(*name)?.as_u64());
    // `best_of` and the like multiply as `n` does.
    let choices = choices(body, "n")?.max(choices(body, "best_of")?);
    Some(each.max()?.saturating_mul(choices))
}

/// How many answers are asked for under that name; `None` when it cannot be told.
fn choices(body: &Map<String, Value>, name: &str) -> Option<u64> {
    match body.get(name) {
        None | Some(Value::Null) => Some(1),
        Some(count) => count.as_u64().map(|count| count.max(1)),
    }
}

/// Does a parameter ask for more, or for something else, than one answer of this model up to its ceiling? Several
/// answers are counted, and what is stored costs nothing.
fn exceeds(protocol: Protocol, name: &str, value: &Value) -> bool {
    !matches!(name, "n" | "best_of" | "store") && is_costly(protocol, name, value)
}

/// What a body holds that counts.
#[derive(Default)]
struct Seen {
    /// Bytes of everything but the images of the conversation.
    text_bytes: u64,
    /// Objects: whatever a provider may put a frame around.
    frames: u64,
    /// Images.
    images: u64,
    /// Something whose tokens do not follow from the bytes that are sent.
    unbounded: bool,
}

impl Seen {
    fn body(&mut self, protocol: Protocol, body: &Map<String, Value>) {
        for (name, value) in body {
            self.count(name.len());
            match name.as_str() {
                "messages" | "input" => self.turns(value),
                // What a provider keeps joins the input without being sent.
                "previous_response_id" if !value.is_null() => self.unbounded = true,
                _ if exceeds(protocol, name, value) => self.unbounded = true,
                "tools" => {
                    self.tools(value);
                    self.value(value);
                }
                _ => self.value(value),
            }
        }
    }

    fn turns(&mut self, turns: &Value) {
        let Value::Array(turns) = turns else {
            return self.value(turns);
        };
        for turn in turns {
            let Value::Object(fields) = turn else {
                self.value(turn);
                continue;
            };
            self.frames = self.frames.saturating_add(1);
            let kind = fields.get("type").and_then(Value::as_str);
            // Others name what the provider keeps, or tools of its own.
            self.unbounded |= !matches!(
                kind,
                None | Some(
                    "message"
                        | "function_call"
                        | "function_call_output"
                        | "custom_tool_call"
                        | "custom_tool_call_output"
                        | "reasoning"
                )
            );
            self.unbounded |= fields.get("audio").is_some_and(|audio| !audio.is_null());
            for (name, value) in fields {
                self.count(name.len());
                match name.as_str() {
                    "content" | "output" => self.parts(value),
                    _ => self.value(value),
                }
            }
        }
    }

    /// The parts of a turn. Only here is an image an image: anywhere else its bytes are text.
    fn parts(&mut self, parts: &Value) {
        let Value::Array(parts) = parts else {
            return self.value(parts);
        };
        for part in parts {
            let Value::Object(fields) = part else {
                self.value(part);
                continue;
            };
            self.frames = self.frames.saturating_add(1);
            match fields.get("type").and_then(Value::as_str) {
                Some("image_url" | "input_image" | "image") => {
                    self.images = self.images.saturating_add(1);
                    continue;
                }
                Some(
                    "text" | "input_text" | "output_text" | "refusal" | "tool_use" | "thinking"
                    | "redacted_thinking" | "summary_text" | "reasoning_text" | "tool_result",
                ) => {}
                _ => self.unbounded = true,
            }
            for (name, value) in fields {
                self.count(name.len());
                match name.as_str() {
                    "content" => self.parts(value),
                    _ => self.value(value),
                }
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                self.frames = self.frames.saturating_add(1);
                for (name, value) in fields {
                    self.count(name.len());
                    self.value(value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.value(item);
                    self.count(0);
                }
            }
            Value::String(text) => self.count(text.len()),
            // Numbers and words: at most 25 bytes each.
            _ => self.count(25),
        }
    }

    /// A provider's own tools read what they like and cost apart.
    fn tools(&mut self, tools: &Value) {
        let tools = tools.as_array().map(Vec::as_slice).unwrap_or_default();
        self.unbounded |= tools.iter().any(|tool| {
            let kind = tool.get("type").and_then(Value::as_str);
            !matches!(kind, None | Some("function" | "custom"))
        });
    }

    fn count(&mut self, bytes: usize) {
        // Four bytes for quotes, a colon and a comma.
        self.text_bytes = self
            .text_bytes
            .saturating_add(bytes as u64)
            .saturating_add(4);
    }
}

/// One attempt at an endpoint that is passed on; `None` when nothing bounds it.
fn raw(
    candidate: &Candidate,
    price: Option<&Price>,
    serves: Serves,
    asked: &Asked,
) -> Option<Consumed> {
    let price = price?;
    let (bytes, images) = match &candidate.payload {
        Payload::Json(body) => {
            let mut seen = Seen::default();
            seen.body(candidate.protocol, body);
            (
                seen.text_bytes.saturating_add(HEAD_TOKENS),
                choices(body, "n")?,
            )
        }
        // The fields of a form are not read apart: its text is part of its bytes, and its `n` is at most this.
        Payload::Bytes { bytes, .. } => (bytes.len() as u64, MAX_FORM_IMAGES),
    };
    let form = matches!(candidate.payload, Payload::Bytes { .. });
    let by_tokens = price.input > 0.0 || price.output > 0.0;
    match serves {
        Serves::Embeddings | Serves::Moderations => Some(tokens(bytes, 0)),
        Serves::Images => {
            let out = match price.max_image_tokens {
                Some(most) => images.saturating_mul(most),
                None if by_tokens => return None,
                None => 0,
            };
            let sent = if form && by_tokens {
                // Up to sixteen pictures may be sent along.
                price.max_image_tokens?.saturating_mul(16)
            } else {
                0
            };
            let text = if form { 0 } else { bytes };
            Some(Consumed {
                images,
                ..tokens(text.saturating_add(sent), out)
            })
        }
        Serves::Speech => {
            let seconds = price.max_seconds;
            if by_tokens || (price.per_second.is_some() && seconds.is_none()) {
                return None;
            }
            Some(Consumed {
                characters: asked.characters,
                audio: Millis::from_secs(seconds.unwrap_or(0)),
                ..tokens(bytes, 0)
            })
        }
        Serves::Transcriptions => {
            // However few its bytes are, a sound may be as long as it likes: silence takes next to none.
            let seconds = price.max_seconds;
            if by_tokens || (price.per_second.is_some() && seconds.is_none()) {
                return None;
            }
            Some(Consumed {
                audio: Millis::from_secs(seconds.unwrap_or(0)),
                ..tokens(0, 0)
            })
        }
        Serves::Chat => None,
    }
}

fn tokens(input: u64, output: u64) -> Consumed {
    Consumed::from(Usage {
        input,
        output,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests;
