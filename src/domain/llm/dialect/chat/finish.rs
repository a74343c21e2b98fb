//! `finish_reason`.

use super::wire::Loose;
use crate::domain::llm::message::Finish;
use crate::domain::llm::normal::event::Failed;

/// What a `finish_reason` says, if it says anything.
///
/// # Errors
/// Words by which servers say that the answer is not whole: OpenRouter and Mistral `error`, vLLM and SGLang `abort`,
/// DeepSeek `insufficient_system_resource`.
pub(super) fn read(word: &Loose<'_>, with_calls: bool) -> Option<Result<Finish, Failed>> {
    match word.text()? {
        "null" => None, // MiniMax and others, until the last chunk
        broken @ ("error" | "abort" | "insufficient_system_resource") => Some(Err(Failed {
            kind: broken.to_owned(),
            message: String::new(),
        })),
        "model_length" => Some(Ok(Finish::Length)), // Mistral
        word => Some(Ok(match Finish::read(word) {
            // OpenAI says `stop` for a tool that `tool_choice` forced, and some servers for every call.
            Finish::Stop if with_calls => Finish::Tool,
            finish => finish,
        })),
    }
}

/// The stop text that was met, as vLLM tells it: `stop_reason` is that text, or the number of a stop token, or null.
pub(super) fn stop_sequence(stop_reason: &Loose<'_>, finish: Finish) -> Option<String> {
    let text = stop_reason.text()?;
    let word_for_it = ["stop", "end_turn", "stop_sequence", "eos"].contains(&text);
    (finish == Finish::Stop && !word_for_it).then(|| text.to_owned())
}
