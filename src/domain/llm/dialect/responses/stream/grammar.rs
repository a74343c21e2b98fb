//! What every stream of this dialect must obey, checked without the writer's help: a machine over the JSON of the frames.

use std::collections::HashSet;

use serde_json::Value;

use crate::domain::llm::normal::event::Frame;

/// The open part of an item: its index, its kind and its text so far.
struct Part {
    index: u64,
    kind: &'static str,
    text: String,
    /// Its text was told to be whole.
    done: bool,
}

struct Item {
    index: u64,
    id: String,
    kind: String,
    object: Value,
    parts: Vec<Value>,
    open: Option<Part>,
    arguments: String,
    arguments_done: bool,
}

/// Accepts a whole stream.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn check(frames: &[Frame]) -> Result<Value, String> {
    let mut machine = Machine::default();
    for (number, frame) in frames.iter().enumerate() {
        let data: Value = serde_json::from_str(&frame.data).map_err(|error| error.to_string())?;
        let name = data["type"].as_str().ok_or("no type")?;
        let place = |fault: String| format!("frame {number} ({name}): {fault}");
        ensure(frame.event == Some(name), "the event field is not the type").map_err(place)?;
        ensure(
            data["sequence_number"] == number,
            "the sequence number is not the place in the stream",
        )
        .map_err(place)?;
        machine.step(name, &data).map_err(place)?;
    }
    machine.last.ok_or_else(|| "no end".to_owned())
}

#[derive(Default)]
struct Machine {
    started: u8,
    response_id: String,
    item: Option<Item>,
    done: Vec<Value>,
    ids: HashSet<String>,
    last: Option<Value>,
}

fn ensure(holds: bool, fault: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| fault.to_owned())
}

/// Fields that `Response` declares as required, `output_text` aside, which the SDK adds.
const RESPONSE_FIELDS: [&str; 14] = [
    "id",
    "access_programs",
    "created_at",
    "error",
    "incomplete_details",
    "instructions",
    "metadata",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "temperature",
    "tool_choice",
    "top_p",
];

impl Machine {
    fn step(&mut self, name: &str, data: &Value) -> Result<(), String> {
        ensure(self.last.is_none(), "something follows the end")?;
        match name {
            "response.created" => {
                ensure(self.started == 0, "a second start")?;
                self.started = 1;
                self.response_id = data["response"]["id"].as_str().ok_or("no id")?.to_owned();
                self.response(&data["response"], "in_progress")?;
                return ensure(
                    data["response"]["output"] == Value::Array(vec![]),
                    "output at the start",
                );
            }
            "response.in_progress" => {
                ensure(self.started == 1, "in_progress not right after created")?;
                self.started = 2;
                return self.response(&data["response"], "in_progress");
            }
            _ => ensure(self.started == 2, "output before the start")?,
        }
        match name {
            "response.output_item.added" => self.item_added(data),
            "response.output_item.done" => self.item_done(data),
            "response.completed" => self.end(data, "completed"),
            "response.incomplete" => self.end(data, "incomplete"),
            _ => {
                let item = self.item.as_mut().ok_or("no item is open")?;
                ensure(data["output_index"] == item.index, "another item's index")?;
                ensure(data["item_id"] == item.id.as_str(), "another item's id")?;
                item.step(name, data)
            }
        }
    }

    fn response(&self, response: &Value, status: &str) -> Result<(), String> {
        for field in RESPONSE_FIELDS {
            ensure(response.get(field).is_some(), &format!("no {field}"))?;
        }
        ensure(response["object"] == "response", "no response object")?;
        ensure(response["id"] == self.response_id.as_str(), "another id")?;
        ensure(response["status"] == status, "another status")
    }

    fn item_added(&mut self, data: &Value) -> Result<(), String> {
        ensure(self.item.is_none(), "an item inside an item")?;
        let index = data["output_index"].as_u64().ok_or("no index")?;
        ensure(index == self.done.len() as u64, "an index out of order")?;
        let object = &data["item"];
        let id = object["id"]
            .as_str()
            .filter(|id| !id.is_empty())
            .ok_or("no item id")?;
        ensure(self.ids.insert(id.to_owned()), "an item id that was used")?;
        let kind = object["type"].as_str().ok_or("no item type")?;
        match kind {
            "message" => {
                ensure(object["role"] == "assistant", "not the assistant's")?;
                ensure(
                    object["content"] == Value::Array(vec![]),
                    "content at the start",
                )?;
            }
            "function_call" => {
                let call_id = object["call_id"].as_str().ok_or("no call id")?;
                ensure(!call_id.is_empty(), "an empty call id")?;
                ensure(
                    self.ids.insert(format!("call {call_id}")),
                    "a call id that was used",
                )?;
                ensure(object["arguments"] == "", "arguments at the start")?;
                ensure(object["name"].is_string(), "no name")?;
            }
            "reasoning" => ensure(
                object["summary"] == Value::Array(vec![]),
                "a summary at the start",
            )?,
            _ => return Err(format!("an item of type {kind}")),
        }
        self.item = Some(Item {
            index,
            id: id.to_owned(),
            kind: kind.to_owned(),
            object: object.clone(),
            parts: Vec::new(),
            open: None,
            arguments: String::new(),
            arguments_done: false,
        });
        Ok(())
    }

    fn item_done(&mut self, data: &Value) -> Result<(), String> {
        let item = self.item.take().ok_or("no item is open")?;
        ensure(data["output_index"] == item.index, "another item's index")?;
        ensure(item.open.is_none(), "a part is open")?;
        let done = &data["item"];
        for field in ["id", "type", "call_id", "name", "role"] {
            ensure(
                done[field] == item.object[field],
                &format!("{field} has changed"),
            )?;
        }
        let parts = Value::Array(item.parts);
        match item.kind.as_str() {
            "message" => ensure(done["content"] == parts, "other content")?,
            "reasoning" => ensure(done["summary"] == parts, "another summary")?,
            _ => {
                ensure(item.arguments_done, "arguments not done")?;
                ensure(
                    done["arguments"] == item.arguments.as_str(),
                    "other arguments",
                )?;
            }
        }
        if item.kind != "reasoning" {
            let status = done["status"].as_str().ok_or("no status")?;
            ensure(
                ["completed", "incomplete"].contains(&status),
                "an item still in progress",
            )?;
        }
        self.done.push(done.clone());
        Ok(())
    }

    fn end(&mut self, data: &Value, status: &str) -> Result<(), String> {
        ensure(self.item.is_none(), "an item is open")?;
        let response = &data["response"];
        self.response(response, status)?;
        ensure(
            response["output"] == Value::Array(self.done.clone()),
            "the output is not what was streamed",
        )?;
        let usage = &response["usage"];
        let count = |value: &Value| value.as_u64().ok_or("no count");
        let total = count(&usage["input_tokens"])? + count(&usage["output_tokens"])?;
        ensure(usage["total_tokens"] == total, "the total is not the sum")?;
        let details = &usage["input_tokens_details"];
        let parts = count(&details["cached_tokens"])? + count(&details["cache_write_tokens"])?;
        ensure(
            parts <= count(&usage["input_tokens"])?,
            "more cached than there is",
        )?;
        count(&usage["output_tokens_details"]["reasoning_tokens"])?;
        self.last = Some(response.clone());
        Ok(())
    }
}

impl Item {
    fn step(&mut self, name: &str, data: &Value) -> Result<(), String> {
        let kind = self.kind.as_str();
        match (kind, name) {
            ("message", "response.content_part.added") => match data["part"]["type"].as_str() {
                Some("output_text") => self.begin("output_text", "text", "content_index", data),
                Some("refusal") => self.begin("refusal", "refusal", "content_index", data),
                _ => Err("an unknown part".into()),
            },
            ("message", "response.output_text.delta") => {
                ensure(data["logprobs"] == Value::Array(vec![]), "no logprobs")?;
                self.more("output_text", "content_index", data)
            }
            ("message", "response.refusal.delta") => self.more("refusal", "content_index", data),
            ("message", "response.output_text.done") => {
                ensure(data["logprobs"] == Value::Array(vec![]), "no logprobs")?;
                self.whole("output_text", "text", "content_index", data)
            }
            ("message", "response.refusal.done") => {
                self.whole("refusal", "refusal", "content_index", data)
            }
            ("message", "response.output_text.annotation.added") => {
                let part = self.open.as_ref().ok_or("no part is open")?;
                ensure(data["content_index"] == part.index, "another part's index")
            }
            ("message", "response.content_part.done") => self.finish("content_index", data),
            ("reasoning", "response.reasoning_summary_part.added") => {
                self.begin("summary_text", "text", "summary_index", data)
            }
            ("reasoning", "response.reasoning_summary_text.delta") => {
                self.more("summary_text", "summary_index", data)
            }
            ("reasoning", "response.reasoning_summary_text.done") => {
                self.whole("summary_text", "text", "summary_index", data)
            }
            ("reasoning", "response.reasoning_summary_part.done") => {
                self.finish("summary_index", data)
            }
            ("function_call", "response.function_call_arguments.delta") => {
                ensure(!self.arguments_done, "arguments after their end")?;
                self.arguments
                    .push_str(data["delta"].as_str().ok_or("no delta")?);
                Ok(())
            }
            ("function_call", "response.function_call_arguments.done") => {
                ensure(!self.arguments_done, "a second end of the arguments")?;
                self.arguments_done = true;
                // A call without arguments takes an empty object.
                if self.arguments.is_empty() {
                    self.arguments.push_str("{}");
                }
                ensure(
                    data["arguments"] == self.arguments.as_str(),
                    "other arguments",
                )
            }
            _ => Err(format!("does not belong to a {kind}")),
        }
    }

    fn begin(
        &mut self,
        kind: &'static str,
        field: &str,
        index_name: &str,
        data: &Value,
    ) -> Result<(), String> {
        ensure(self.open.is_none(), "a part inside a part")?;
        let index = self.parts.len() as u64;
        ensure(data[index_name] == index, "a part's index out of order")?;
        ensure(data["part"]["type"] == kind, "another kind of part")?;
        ensure(data["part"][field] == "", "text at the start of a part")?;
        self.open = Some(Part {
            index,
            kind,
            text: String::new(),
            done: false,
        });
        Ok(())
    }

    fn part(&mut self, index_name: &str, data: &Value) -> Result<&mut Part, String> {
        let part = self.open.as_mut().ok_or("no part is open")?;
        ensure(data[index_name] == part.index, "another part's index")?;
        Ok(part)
    }

    fn more(&mut self, kind: &str, index_name: &str, data: &Value) -> Result<(), String> {
        let part = self.part(index_name, data)?;
        ensure(part.kind == kind, "another kind of part")?;
        ensure(!part.done, "a delta behind the end of its text")?;
        part.text
            .push_str(data["delta"].as_str().ok_or("no delta")?);
        Ok(())
    }

    fn whole(
        &mut self,
        kind: &str,
        field: &str,
        index_name: &str,
        data: &Value,
    ) -> Result<(), String> {
        let part = self.part(index_name, data)?;
        ensure(part.kind == kind, "another kind of part")?;
        ensure(
            data[field] == part.text.as_str(),
            "not the text of the deltas",
        )?;
        ensure(!part.done, "a text is done twice")?;
        part.done = true;
        Ok(())
    }

    fn finish(&mut self, index_name: &str, data: &Value) -> Result<(), String> {
        let part = self.part(index_name, data)?;
        let field = if part.kind == "refusal" {
            "refusal"
        } else {
            "text"
        };
        ensure(data["part"]["type"] == part.kind, "another kind of part")?;
        ensure(
            data["part"][field] == part.text.as_str(),
            "not the text of the deltas",
        )?;
        self.open = None;
        self.parts.push(data["part"].clone());
        Ok(())
    }
}
