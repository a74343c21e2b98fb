//! What a request says beside the conversation: thinking, output format, the person behind it, and all other fields.

use super::fields::{
    Fields, at, is_empty, name, object, optional_object, said, text, whole_number,
};
use super::read::Rest;
use super::thinking::MIN_BUDGET_TOKENS;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{Effort, Format, Reasoning};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// The name that a schema gets; this dialect has none.
pub(super) const SCHEMA_NAME: &str = "output";

/// Thinking and format.
pub(super) fn read(body: &Fields, rest: &mut Rest) -> Result<(Option<Reasoning>, Format), Refusal> {
    let config = optional_object(body, "", "output_config")?;
    let mut effort = None;
    let mut format = Format::Text;
    if let Some(config) = config {
        effort = read_effort(config)?;
        format = read_format(config, "output_config", "format")?;
        for (name, value) in config {
            if !matches!(name.as_str(), "effort" | "format") && !is_empty(value) {
                rest.push(Feature::Other, at("output_config", name));
            }
        }
    }
    // The field's place while structured outputs were a beta.
    if format == Format::Text {
        format = read_format(body, "", "output_format")?;
    }
    Ok((read_thinking(body, effort, rest)?, format))
}

fn read_effort(config: &Fields) -> Result<Option<Effort>, Refusal> {
    Ok(Some(match text(config, "output_config", "effort")? {
        None => return Ok(None),
        Some("low") => Effort::Low,
        Some("medium") => Effort::Medium,
        Some("high") => Effort::High,
        Some("xhigh" | "max") => Effort::Max,
        Some(_) => {
            let rule = "must be one of low, medium, high, xhigh, max";
            return Err(invalid("output_config.effort", rule));
        }
    }))
}

fn read_format(fields: &Fields, path: &str, field: &str) -> Result<Format, Refusal> {
    let Some(format) = optional_object(fields, path, field)? else {
        return Ok(Format::Text);
    };
    let path = at(path, field);
    if name(format, &path, "type")? != "json_schema" {
        return Err(invalid(&at(&path, "type"), "must be \"json_schema\""));
    }
    let schema_path = at(&path, "schema");
    let schema = said(format, "schema").ok_or_else(|| missing(&schema_path))?;
    object(schema, &schema_path)?;
    Ok(Format::Schema {
        name: SCHEMA_NAME.into(),
        description: None,
        schema: schema.clone(),
        // Anthropic always holds an answer to its schema.
        strict: Some(true),
    })
}

fn read_thinking(
    body: &Fields,
    effort: Option<Effort>,
    rest: &mut Rest,
) -> Result<Option<Reasoning>, Refusal> {
    let path = "thinking";
    let Some(thinking) = optional_object(body, "", path)? else {
        return Ok(effort.map(|effort| Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }));
    };
    let show = match text(thinking, path, "display")? {
        None | Some("summarized") => true,
        Some("omitted") => false,
        Some(_) => {
            let rule = "must be \"summarized\" or \"omitted\"";
            return Err(invalid("thinking.display", rule));
        }
    };
    let reasoning = match name(thinking, path, "type")? {
        "enabled" => Reasoning {
            effort,
            budget_tokens: Some(
                whole_number(thinking, path, "budget_tokens", MIN_BUDGET_TOKENS)?
                    .ok_or_else(|| missing("thinking.budget_tokens"))?,
            ),
            adaptive: false,
            show,
        },
        "adaptive" => Reasoning {
            effort,
            budget_tokens: None,
            adaptive: true,
            show,
        },
        "disabled" => {
            // Effort governs the answer's length too, which no other dialect separates.
            if effort.is_some() {
                rest.push(Feature::Reasoning, "output_config.effort");
            }
            Reasoning {
                effort: Some(Effort::None),
                ..Reasoning::default()
            }
        }
        // `between_tools`, and what may come.
        _ => {
            rest.push(Feature::Reasoning, "thinking.type");
            return Ok(None);
        }
    };
    Ok(Some(reasoning))
}

/// `metadata.user_id`; other labels of the metadata are hints.
pub(super) fn user(body: &Fields, rest: &mut Rest) -> Result<Option<String>, Refusal> {
    let Some(metadata) = optional_object(body, "", "metadata")? else {
        return Ok(None);
    };
    for (name, value) in metadata {
        if name != "user_id" && !is_empty(value) {
            rest.push(Feature::Hint, at("metadata", name));
        }
    }
    Ok(text(metadata, "metadata", "user_id")?.map(str::to_owned))
}

/// All fields of the top level that are read nowhere else.
pub(super) fn others(body: &Fields, rest: &mut Rest) {
    for (name, value) in body {
        let feature = match name.as_str() {
            "model" | "messages" | "system" | "max_tokens" | "temperature" | "top_p" | "top_k"
            | "stop_sequences" | "stream" | "tools" | "tool_choice" | "thinking"
            | "output_config" | "output_format" | "metadata" => continue,
            "speed" if *value == "standard" => continue,
            "service_tier" if *value == "auto" || *value == "standard_only" => Feature::Hint,
            "cache_control" | "diagnostics" => Feature::Hint,
            "container" | "thread" => Feature::Reference,
            "mcp_servers" => Feature::ServerTool,
            _ => Feature::Other,
        };
        if !is_empty(value) {
            rest.push(feature, name.as_str());
        }
    }
}
