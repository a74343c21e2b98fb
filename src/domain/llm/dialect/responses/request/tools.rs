//! `tools` and `tool_choice`.

use serde_json::Value;

use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{Tool, ToolChoice, Unplaced};
use crate::domain::llm::normal::feature::Feature;

pub(super) fn read(
    request: &Fields<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Vec<Tool>, Refusal> {
    let mut tools: Vec<Tool> = Vec::new();
    for (i, tool) in request.list("tools")?.iter().enumerate() {
        let tool = Fields::at(tool, format!("tools[{i}]"))?;
        match tool.required_text("type")? {
            "function" => {
                let read = function(&tool, unplaced)?;
                if tools.iter().any(|other| other.name == read.name) {
                    return Err(tool.wrong("name", "must be the name of one tool only"));
                }
                tools.push(read);
            }
            kind => unplaced.push(Unplaced {
                feature: match kind {
                    // The caller runs these, but their input is no JSON, or their names stand in a group.
                    "custom" | "namespace" => Feature::Other,
                    _ => Feature::ServerTool,
                },
                param: tool.path().to_owned(),
            }),
        }
    }
    Ok(tools)
}

fn function(tool: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Tool, Refusal> {
    let parameters = match tool.get("parameters") {
        Some(schema) if !schema.is_object() => {
            return Err(tool.wrong("parameters", "must be a JSON Schema"));
        }
        schema => schema.cloned(),
    };
    for name in ["defer_loading", "async"] {
        if tool.flag(name)? == Some(true) {
            tool.unplace(name, Feature::Other, unplaced);
        }
    }
    let direct = |callers: &Value| *callers == serde_json::json!(["direct"]);
    if !tool.get("allowed_callers").is_none_or(direct) {
        tool.unplace("allowed_callers", Feature::Other, unplaced);
    }
    let known = [
        "type",
        "name",
        "description",
        "parameters",
        "strict",
        "defer_loading",
        "async",
        "allowed_callers",
    ];
    tool.others(&known, Feature::Other, unplaced);
    Ok(Tool {
        name: tool.required_text("name")?.to_owned(),
        description: tool.text("description")?.map(str::to_owned),
        parameters,
        strict: tool.flag("strict")?,
        cache: None,
    })
}

/// Reads `tool_choice`. A choice that allows some of the tools takes the others away.
pub(super) fn choice(
    request: &Fields<'_>,
    tools: &mut Vec<Tool>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<ToolChoice, Refusal> {
    const RULE: &str = "must be none, auto, required or an object that names a tool";
    match request.get("tool_choice") {
        None => return Ok(ToolChoice::Unset),
        Some(Value::String(word)) => {
            return match word.as_str() {
                "auto" => Ok(ToolChoice::Auto),
                "none" => Ok(ToolChoice::None),
                "required" => Ok(ToolChoice::Required),
                _ => Err(request.wrong("tool_choice", RULE)),
            };
        }
        Some(Value::Object(_)) => {}
        Some(_) => return Err(request.wrong("tool_choice", RULE)),
    }
    let Some(choice) = request.object("tool_choice")? else {
        return Ok(ToolChoice::Unset);
    };
    let feature = match choice.required_text("type")? {
        "function" => return Ok(ToolChoice::Named(choice.required_text("name")?.to_owned())),
        "allowed_tools" => match allowed(&choice, tools)? {
            Some(choice) => return Ok(choice),
            None => Feature::Other,
        },
        "custom" => Feature::Other,
        _ => Feature::ServerTool,
    };
    unplaced.push(Unplaced {
        feature,
        param: "tool_choice".to_owned(),
    });
    Ok(ToolChoice::Unset)
}

/// `allowed_tools`, if all of them are the caller's functions.
fn allowed(choice: &Fields<'_>, tools: &mut Vec<Tool>) -> Result<Option<ToolChoice>, Refusal> {
    let mode = choice.word("mode", &["auto", "required"])?;
    let mut names = Vec::new();
    for (i, tool) in choice.list("tools")?.iter().enumerate() {
        let tool = Fields::at(tool, format!("tool_choice.tools[{i}]"))?;
        match tool.text("type")? {
            Some("function") => names.push(tool.required_text("name")?),
            _ => return Ok(None),
        }
    }
    if names.is_empty() {
        return Err(choice.wrong("tools", "must hold at least one tool"));
    }
    if let Some(unknown) = (names.iter()).find(|name| !tools.iter().any(|tool| tool.name == **name))
    {
        let rule = format!("must name tools of `tools`; `{unknown}` is none");
        return Err(choice.wrong("tools", &rule));
    }
    tools.retain(|tool| names.contains(&tool.name.as_str()));
    Ok(Some(match mode {
        Some("required") => ToolChoice::Required,
        _ => ToolChoice::Auto,
    }))
}
