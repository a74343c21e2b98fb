//! What is judged and counted of answers that are passed on as they are: embeddings, moderations, images, audio.
//!
//! Where an answer tells its tokens or seconds they count as told. Where it does not they are estimated, and marked so:
//! nothing that a provider charges for is booked as nothing.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::time::Millis;
use crate::domain::llm::message::Usage;
use crate::domain::llm::price::Consumed;
use crate::domain::settings::config::Serves;

/// What a request says about its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Our count of its text.
    pub tokens: u64,
    /// Characters to be read aloud.
    pub characters: u64,
    /// Bytes of sound that are sent.
    pub audio_bytes: u64,
}

/// Sound of which only the bytes are known: 128 kbit/s = 16 bytes a millisecond, as compressed speech mostly has.
const AUDIO_BYTES_PER_MS: u64 = 16;
/// Speech of which only the text is known: 150 words a minute of 6 characters each = 15 characters a second.
const CHARACTERS_PER_SECOND: u64 = 15;
/// Tokens of a minute of speech that is written down, as the published prices per token and per minute relate.
const TOKENS_PER_AUDIO_MINUTE: u64 = 1000;

/// What an answer took; `None` when it is no answer of its endpoint.
#[must_use]
pub fn consumed(
    serves: Serves,
    asked: &Asked,
    content_type: Option<&str>,
    bytes: &[u8],
) -> Option<Consumed> {
    match serves {
        Serves::Embeddings => {
            let body = Body::read(bytes)?;
            (body.items() > 0).then(|| body.tokens_or(asked.tokens).into())
        }
        Serves::Images => {
            let body = Body::read(bytes)?;
            (body.items() > 0).then(|| Consumed {
                images: body.items(),
                ..body.tokens_or(asked.tokens).into()
            })
        }
        Serves::Speech => speech(asked, content_type, bytes),
        Serves::Transcriptions => transcription(asked, content_type, bytes),
        Serves::Moderations | Serves::Chat => {
            Some(Body::read(bytes)?.tokens_or(asked.tokens).into())
        }
    }
}

fn speech(asked: &Asked, content_type: Option<&str>, bytes: &[u8]) -> Option<Consumed> {
    let audio = content_type
        .is_some_and(|t| t.starts_with("audio/") || t.starts_with("application/octet-stream"));
    (audio && !bytes.is_empty()).then(|| Consumed {
        characters: asked.characters,
        audio: Millis(asked.characters.saturating_mul(1000) / CHARACTERS_PER_SECOND),
        audio_estimated: true,
        ..estimated(asked.tokens, 0).into()
    })
}

fn transcription(asked: &Asked, content_type: Option<&str>, bytes: &[u8]) -> Option<Consumed> {
    let heard = Millis(asked.audio_bytes / AUDIO_BYTES_PER_MS);
    let guess = |written: u64| {
        let spoken = heard.0.saturating_mul(TOKENS_PER_AUDIO_MINUTE) / 60_000;
        estimated(asked.tokens.saturating_add(spoken), written)
    };
    match content_type {
        Some(t) if t.starts_with("application/json") => {
            let body = Body::read(bytes)?;
            let told = body.audio();
            let usage = match (body.tokens(), told) {
                (Some(tokens), _) => tokens,
                // Charged by its length, which is known.
                (None, Some(_)) => Usage::default(),
                (None, None) => guess(tokens_of(bytes)),
            };
            Some(Consumed {
                audio: told.unwrap_or(heard),
                audio_estimated: told.is_none(),
                ..usage.into()
            })
        }
        Some(t) if t.starts_with("text/html") => None,
        // Plain text, SRT and VTT are asked for by `response_format`.
        _ => (!bytes.is_empty()).then(|| Consumed {
            audio: heard,
            audio_estimated: true,
            ..guess(tokens_of(bytes)).into()
        }),
    }
}

/// As much of a JSON answer as counts; pictures and vectors are passed over.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(default)]
    data: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    duration: Value,
}

impl Body {
    /// An object that is no error.
    fn read(bytes: &[u8]) -> Option<Self> {
        let body: Self = serde_json::from_slice(bytes).ok()?;
        body.error.is_none().then_some(body)
    }

    fn items(&self) -> u64 {
        self.data.as_ref().map_or(0, |data| data.len() as u64)
    }

    /// Tokens as told, under the names of either kind of endpoint.
    fn tokens(&self) -> Option<Usage> {
        let count = |names: [&str; 2]| {
            names
                .into_iter()
                .find_map(|name| self.usage.get(name)?.as_u64())
        };
        let input = count(["input_tokens", "prompt_tokens"]);
        let output = count(["output_tokens", "completion_tokens"]);
        (input.is_some() || output.is_some()).then(|| Usage {
            input: input.unwrap_or_default(),
            output: output.unwrap_or_default(),
            ..Usage::default()
        })
    }

    fn tokens_or(&self, input: u64) -> Usage {
        self.tokens().unwrap_or_else(|| estimated(input, 0))
    }

    /// The length of what was heard: `usage.seconds` of OpenAI's transcriptions, `duration` of the verbose form.
    fn audio(&self) -> Option<Millis> {
        let seconds = self.usage.get("seconds").unwrap_or(&self.duration);
        let seconds = seconds
            .as_f64()
            .or_else(|| seconds.as_str()?.parse().ok())?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates, and what is negative becomes nothing"
        )]
        Some(Millis((seconds * 1000.0).ceil() as u64))
    }
}

const fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        cached: 0,
        written_5m: 0,
        written_1h: 0,
        output,
        reasoning: 0,
        estimated: true,
    }
}

/// About four bytes make a token.
const fn tokens_of(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::{Asked, consumed};
    use crate::base::time::Millis;
    use crate::domain::llm::message::Usage;
    use crate::domain::llm::price::Consumed;
    use crate::domain::settings::config::Serves;

    const ASKED: Asked = Asked {
        tokens: 7,
        characters: 30,
        audio_bytes: 960_000, // a minute of 16 bytes a millisecond
    };

    fn told(input: u64, output: u64) -> Usage {
        Usage {
            input,
            output,
            ..Usage::default()
        }
    }

    fn guessed(input: u64, output: u64) -> Usage {
        Usage {
            estimated: true,
            ..told(input, output)
        }
    }

    fn json(serves: Serves, body: &str) -> Option<Consumed> {
        consumed(
            serves,
            &ASKED,
            Some("application/json; charset=utf-8"),
            body.as_bytes(),
        )
    }

    #[test]
    fn pictures_are_counted_and_their_tokens_taken_or_estimated() {
        let two = r#"{"created":1,"data":[{"b64_json":"x"},{"url":"y"}]}"#;
        let gpt = r#"{"data":[{}],"usage":{"input_tokens":13,"output_tokens":4160,"input_tokens_details":{"text_tokens":13}}}"#;
        assert_eq!(
            json(Serves::Images, two),
            Some(Consumed {
                images: 2,
                ..guessed(7, 0).into()
            })
        );
        assert_eq!(
            json(Serves::Images, gpt),
            Some(Consumed {
                images: 1,
                ..told(13, 4160).into()
            })
        );
    }

    #[test]
    fn speech_counts_characters_and_about_its_length() {
        let heard = consumed(Serves::Speech, &ASKED, Some("audio/mpeg"), b"ID3");
        assert_eq!(
            heard,
            Some(Consumed {
                characters: 30,
                audio: Millis(2000),
                audio_estimated: true,
                ..guessed(7, 0).into()
            })
        );
    }

    #[test]
    fn a_transcription_is_counted_by_seconds_by_tokens_or_by_its_bytes() {
        let table = [
            (
                r#"{"text":"hi","usage":{"type":"duration","seconds":61.5}}"#,
                61_500,
                told(0, 0),
            ),
            (r#"{"text":"hi","duration":8.4700001}"#, 8_471, told(0, 0)),
            (r#"{"text":"hi","duration":"8.47"}"#, 8_470, told(0, 0)),
            (
                r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":3}}"#,
                60_000,
                told(14, 3),
            ),
            (r#"{"text":"hi"}"#, 60_000, guessed(1007, 4)),
            (r#"{"text":"hi","usage":null,"duration":-1}"#, 0, told(0, 0)),
        ];
        for (body, millis, usage) in table {
            let expected = Consumed {
                audio: Millis(millis),
                audio_estimated: millis == 60_000,
                ..usage.into()
            };
            assert_eq!(json(Serves::Transcriptions, body), Some(expected), "{body}");
        }
        let subtitles = consumed(
            Serves::Transcriptions,
            &ASKED,
            Some("text/plain"),
            b"1\nhi..",
        );
        let expected = Consumed {
            audio: Millis(60_000),
            audio_estimated: true,
            ..guessed(1007, 2).into()
        };
        assert_eq!(subtitles, Some(expected));
    }

    #[test]
    fn embeddings_and_moderations_without_usage_are_estimated() {
        let list = r#"{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        assert_eq!(json(Serves::Embeddings, list), Some(told(5, 0).into()));
        let bare = r#"{"data":[{"embedding":[1]}]}"#;
        assert_eq!(json(Serves::Embeddings, bare), Some(guessed(7, 0).into()));
        let verdict = r#"{"id":"modr","results":[{}]}"#;
        assert_eq!(
            json(Serves::Moderations, verdict),
            Some(guessed(7, 0).into())
        );
    }

    #[test]
    fn what_is_no_answer_of_the_endpoint_is_none() {
        for serves in [
            Serves::Embeddings,
            Serves::Images,
            Serves::Moderations,
            Serves::Transcriptions,
        ] {
            assert_eq!(
                json(serves, r#"{"error":{"message":"no"},"data":[{}]}"#),
                None
            );
            assert_eq!(json(serves, "<html>"), None);
        }
        assert_eq!(json(Serves::Embeddings, r#"{"data":[]}"#), None);
        assert_eq!(json(Serves::Images, r#"{"data":[]}"#), None);
        assert_eq!(json(Serves::Speech, "{}"), None);
        let html = consumed(Serves::Transcriptions, &ASKED, Some("text/html"), b"<html>");
        assert_eq!(html, None);
        assert_eq!(
            consumed(Serves::Speech, &ASKED, Some("audio/mpeg"), b""),
            None
        );
    }
}
