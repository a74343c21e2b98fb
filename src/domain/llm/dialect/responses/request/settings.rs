//! What the answer must look like, how much to think, and everything that has no place in the normal form.

use serde_json::Value;

use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{Effort, Format, Reasoning, Unplaced};
use crate::domain::llm::normal::feature::Feature;

pub(super) fn format(
    request: &Fields<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Format, Refusal> {
    let Some(text) = request.object("text")? else {
        return Ok(Format::Text);
    };
    if text.text("verbosity")? != Some("medium") {
        text.unplace("verbosity", Feature::Other, unplaced);
    }
    text.others(&["format", "verbosity"], Feature::Other, unplaced);
    let Some(format) = text.object("format")? else {
        return Ok(Format::Text);
    };
    match format.required_text("type")? {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => schema(&format),
        _ => Err(format.wrong("type", "must be one of text, json_object, json_schema")),
    }
}

fn schema(format: &Fields<'_>) -> Result<Format, Refusal> {
    let schema = format.required("schema")?;
    if !schema.is_object() {
        return Err(format.wrong("schema", "must be a JSON Schema"));
    }
    Ok(Format::Schema {
        name: format.required_text("name")?.to_owned(),
        description: format.text("description")?.map(str::to_owned),
        schema: schema.clone(),
        strict: format.flag("strict")?,
    })
}

pub(super) fn reasoning(
    request: &Fields<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Option<Reasoning>, Refusal> {
    const SUMMARIES: [&str; 3] = ["auto", "concise", "detailed"];
    let Some(fields) = request.object("reasoning")? else {
        return Ok(None);
    };
    let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    let effort = fields.word("effort", &efforts)?.map(|word| match word {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        _ => Effort::Max,
    });
    let show = fields.word("summary", &SUMMARIES)?.is_some()
        || fields.word("generate_summary", &SUMMARIES)?.is_some();
    // Which of the earlier thinking is shown to the model again.
    if fields.text("context")? != Some("auto") {
        fields.unplace("context", Feature::Hint, unplaced);
    }
    if fields.text("mode")? != Some("standard") {
        fields.unplace("mode", Feature::Other, unplaced);
    }
    let known = ["effort", "summary", "generate_summary", "context", "mode"];
    fields.others(&known, Feature::Other, unplaced);
    Ok((effort.is_some() || show).then_some(Reasoning {
        effort,
        budget_tokens: None,
        adaptive: false,
        show,
    }))
}

/// Fields that are read elsewhere.
const READ: [&str; 15] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "max_output_tokens",
    "temperature",
    "top_p",
    "reasoning",
    "user",
    "stream",
    "previous_response_id",
    "conversation",
];

/// Fields that say nothing about the answer: labels, caching, billing of provider-run tools, where a copy is kept.
const LABELS: [&str; 8] = [
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "store",
    "stream_options",
    "max_tool_calls",
];

/// Fields with rules of their own below, and `prompt`, which is read with the stored conversation.
const RULED: [&str; 6] = [
    "prompt",
    "background",
    "include",
    "service_tier",
    "top_logprobs",
    "truncation",
];

/// Every other field of the request.
pub(super) fn rest(request: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<(), Refusal> {
    request.flag("store")?;
    for name in LABELS {
        request.unplace(name, Feature::Hint, unplaced);
    }
    let prewarm = request
        .get("prompt_cache_options")
        .and_then(|options| options.get("prewarm"));
    if prewarm == Some(&Value::Bool(true)) {
        unplaced.push(Unplaced {
            feature: Feature::Other,
            param: "prompt_cache_options.prewarm".to_owned(),
        });
    }
    // Answers wait in a store of ours for whoever comes back, so that this is no matter of the provider's.
    request.flag("background")?;
    let tier = match request.text("service_tier")? {
        Some("auto" | "default") => Feature::Hint,
        _ => Feature::Other,
    };
    request.unplace("service_tier", tier, unplaced);
    if request
        .number("top_logprobs", 0.0, 20.0)?
        .is_some_and(|n| n > 0.0)
    {
        request.unplace("top_logprobs", Feature::LogProbs, unplaced);
    }
    if request.word("truncation", &["auto", "disabled"])? == Some("auto") {
        request.unplace("truncation", Feature::Other, unplaced);
    }
    include(request, unplaced)?;
    let known: Vec<&str> = [READ.as_slice(), &LABELS, &RULED].concat();
    request.others(&known, Feature::Other, unplaced);
    Ok(())
}

/// `include` asks for more of the answer. Sealed thinking is always kept; the others are of provider-run tools.
fn include(request: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<(), Refusal> {
    for (i, name) in request.list("include")?.iter().enumerate() {
        let feature = match name.as_str() {
            Some("reasoning.encrypted_content") => continue,
            Some("message.output_text.logprobs") => Feature::LogProbs,
            Some(_) => Feature::Hint,
            None => return Err(request.wrong(&format!("include[{i}]"), "must be a text")),
        };
        unplaced.push(Unplaced {
            feature,
            param: format!("include[{i}]"),
        });
    }
    Ok(())
}
