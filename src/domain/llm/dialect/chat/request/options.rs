//! Everything but the messages: tools, the form of the answer, ceilings, reasoning.

use serde_json::Value;

use super::content::cache_mark;
use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{
    Effort, Format, Reasoning, Sampling, Tool, ToolChoice, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

/// `tools`, and `functions` of the time before them.
pub(super) fn tools(root: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (i, item) in root.list("tools")?.unwrap_or_default().iter().enumerate() {
        let item = Fields::at(item, format!("tools[{i}]"))?;
        match item.required_text("type")? {
            "function" => {
                item.leftovers(
                    &["type", "function", "cache_control"],
                    Feature::Other,
                    unplaced,
                );
                let mut tool = tool(&item.required_object("function")?, unplaced)?;
                tool.cache = cache_mark(&item)?.or(tool.cache);
                tools.push(tool);
            }
            "custom" => item.unplaced("", Feature::Other, unplaced),
            _ => item.unplaced("", Feature::ServerTool, unplaced),
        }
    }
    for (i, item) in root
        .list("functions")?
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        tools.push(tool(
            &Fields::at(item, format!("functions[{i}]"))?,
            unplaced,
        )?);
    }
    Ok(tools)
}

fn tool(function: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Tool, Refusal> {
    let known = [
        "name",
        "description",
        "parameters",
        "strict",
        "cache_control",
    ];
    function.leftovers(&known, Feature::Other, unplaced);
    function.object("parameters")?;
    Ok(Tool {
        name: function.required_text("name")?.to_owned(),
        description: function.text("description")?.map(str::to_owned),
        parameters: function.get("parameters").cloned(),
        strict: function.flag("strict")?,
        cache: cache_mark(function)?,
    })
}

/// `tool_choice`, and `function_call` of the time before it.
pub(super) fn tool_choice(
    root: &Fields<'_>,
    tools: &[Tool],
    unplaced: &mut Vec<Unplaced>,
) -> Result<ToolChoice, Refusal> {
    let (field, choice) = match root.get("tool_choice") {
        Some(choice) => ("tool_choice", choice),
        None => match root.get("function_call") {
            Some(choice) => ("function_call", choice),
            None => return Ok(ToolChoice::Unset),
        },
    };
    let choice = match choice {
        Value::String(word) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" | "any" => ToolChoice::Required, // Mistral says `any`
            _ => return Err(root.invalid(field, "must be none, auto, required or name a tool")),
        },
        Value::Object(_) => match named(root, field)? {
            Some(name) => ToolChoice::Named(name),
            None => {
                root.unplaced(field, Feature::Other, unplaced);
                return Ok(ToolChoice::Unset);
            }
        },
        _ => return Err(root.invalid(field, "must be a text or an object")),
    };
    let any_tool = root
        .said()
        .any(|(name, _)| matches!(name, "tools" | "functions"));
    match &choice {
        ToolChoice::Required | ToolChoice::Named(_) if !any_tool => {
            Err(root.invalid(field, "needs `tools`"))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
            Err(root.invalid(field, "must name one of `tools`"))
        }
        _ => Ok(choice),
    }
}

/// The function that is named; `None` for choices that the normal form does not have (`allowed_tools`, `custom`).
fn named(root: &Fields<'_>, field: &str) -> Result<Option<String>, Refusal> {
    let choice = root.required_object(field)?;
    if field == "function_call" {
        return Ok(Some(choice.required_text("name")?.to_owned()));
    }
    if choice.required_text("type")? != "function" {
        return Ok(None);
    }
    let function = choice.required_object("function")?;
    Ok(Some(function.required_text("name")?.to_owned()))
}

/// `response_format`
pub(super) fn format(root: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Format, Refusal> {
    let Some(format) = root.object("response_format")? else {
        return Ok(Format::Text);
    };
    match format.required_text("type")? {
        "text" => Ok(Format::Text),
        // llama.cpp, Together and Fireworks take a schema here.
        "json_object" => match format.object("schema")? {
            None => Ok(Format::JsonObject),
            Some(_) => Ok(Format::Schema {
                name: "response".to_owned(),
                description: None,
                schema: format.get("schema").cloned().unwrap_or_default(),
                strict: None,
            }),
        },
        "json_schema" => {
            let schema = format.required_object("json_schema")?;
            schema.required_object("schema")?;
            let known = ["name", "description", "schema", "strict"];
            schema.leftovers(&known, Feature::Other, unplaced);
            Ok(Format::Schema {
                name: schema.required_text("name")?.to_owned(),
                description: schema.text("description")?.map(str::to_owned),
                schema: schema.get("schema").cloned().unwrap_or_default(),
                strict: schema.flag("strict")?,
            })
        }
        _ => {
            root.unplaced("response_format", Feature::Other, unplaced);
            Ok(Format::Text)
        }
    }
}

/// Ceilings and randomness.
pub(super) fn sampling(root: &Fields<'_>) -> Result<Sampling, Refusal> {
    let older_ceiling = root.positive("max_tokens")?;
    Ok(Sampling {
        max_output: root.positive("max_completion_tokens")?.or(older_ceiling),
        temperature: root.number("temperature", 0.0, 2.0)?,
        top_p: root.number("top_p", 0.0, 1.0)?,
        top_k: top_k(root)?,
        stop: stop(root)?,
        seed: match root.get("seed") {
            None => None,
            Some(seed) => Some(seed.as_i64().ok_or_else(|| {
                root.invalid("seed", "must be a whole number of at most 64 bits")
            })?),
        },
        presence_penalty: root.number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: root.number("frequency_penalty", -2.0, 2.0)?,
    })
}

/// Not OpenAI's, but vLLM's, llama.cpp's and OpenRouter's; 0 and −1 mean all tokens.
fn top_k(root: &Fields<'_>) -> Result<Option<u64>, Refusal> {
    match root.get("top_k") {
        None => Ok(None),
        Some(k) if matches!(k.as_i64(), Some(0 | -1)) => Ok(None),
        Some(_) => root.positive("top_k"),
    }
}

fn stop(root: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    match root.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => (0..)
            .zip(items)
            .map(|(i, item)| match item {
                Value::String(text) if !text.is_empty() => Ok(text.clone()),
                _ => Err(root.invalid(&format!("stop[{i}]"), "must be a text that is not empty")),
            })
            .collect(),
        Some(_) => Err(root.invalid("stop", "must be a text or an array of texts")),
    }
}

/// `reasoning_effort`, or the object `reasoning` of OpenRouter and Ollama.
pub(super) fn reasoning(
    root: &Fields<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Option<Reasoning>, Refusal> {
    let effort = effort(root, "reasoning_effort", unplaced)?;
    let Some(object) = root.object("reasoning")? else {
        return Ok(effort.map(|effort| Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }));
    };
    let known = ["effort", "max_tokens", "exclude", "enabled"];
    object.leftovers(&known, Feature::Other, unplaced);
    let own_effort = self::effort(&object, "effort", unplaced)?;
    let enabled = object.flag("enabled")?;
    let effort = effort
        .or(own_effort)
        .or((enabled == Some(false)).then_some(Effort::None));
    let budget_tokens = object.positive("max_tokens")?;
    let shown = !object.flag("exclude")?.unwrap_or(false);
    if effort.is_none() && budget_tokens.is_none() && enabled.is_none() {
        return Ok(None);
    }
    Ok(Some(Reasoning {
        effort,
        budget_tokens,
        adaptive: effort.is_none() && budget_tokens.is_none(),
        show: shown && effort != Some(Effort::None),
    }))
}

/// A word for effort. OpenAI's `xhigh` and `max` are both the most; words that only some server knows have no place.
fn effort(
    fields: &Fields<'_>,
    name: &str,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Option<Effort>, Refusal> {
    let Some(word) = fields.text(name)? else {
        return Ok(None);
    };
    let effort = match word {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" | "max" => Effort::Max,
        _ => {
            fields.unplaced(name, Feature::Reasoning, unplaced);
            return Ok(None);
        }
    };
    Ok(Some(effort))
}
