//! The grammar of a chunk stream as a caller's SDK relies on it, written without a look at the writer.

use serde_json::{Map, Value};

use crate::domain::llm::normal::event::Frame;

/// Where a stream stands.
#[derive(Default)]
struct Checker {
    include_usage: bool,
    /// Id, model and the like: the same in every chunk.
    face: Option<Value>,
    role: bool,
    finished: bool,
    used: bool,
    done: bool,
    calls: Vec<String>,
    /// More of the last call may come: nothing else has come since.
    in_call: bool,
}

/// Checks the frames of a whole stream.
pub(super) fn check(frames: &[Frame], include_usage: bool) -> Result<(), String> {
    let mut checker = Checker {
        include_usage,
        ..Checker::default()
    };
    for frame in frames {
        checker
            .frame(frame)
            .map_err(|rule| format!("{rule}: {}", frame.data))?;
    }
    match checker.done {
        true if checker.used == include_usage => Ok(()),
        true => Err("no usage".into()),
        false => Err("no [DONE]".into()),
    }
}

fn must(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

impl Checker {
    fn frame(&mut self, frame: &Frame) -> Result<(), String> {
        must(frame.event.is_none(), "events have no name")?;
        must(!self.done, "nothing comes after [DONE]")?;
        must(!frame.data.contains('\n'), "one line")?;
        if frame.data == "[DONE]" {
            self.done = true;
            for arguments in &self.calls {
                let value: Result<Value, _> = serde_json::from_str(arguments);
                must(
                    value.is_ok_and(|value| value.is_object()),
                    "arguments are an object",
                )?;
            }
            return Ok(());
        }
        let mut chunk: Map<String, Value> =
            serde_json::from_str(&frame.data).map_err(|_| "JSON".to_owned())?;
        must(
            chunk.get("object") == Some(&"chat.completion.chunk".into()),
            "object",
        )?;
        must(chunk.get("created").is_some_and(Value::is_u64), "created")?;
        must(
            chunk["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("chatcmpl-")),
            "id",
        )?;
        must(chunk.get("model").is_some_and(Value::is_string), "model")?;
        let choices = chunk.remove("choices").ok_or("choices")?;
        let usage = chunk.remove("usage");
        let face = Value::from(chunk);
        must(
            self.face.get_or_insert_with(|| face.clone()) == &face,
            "one face",
        )?;
        must(!self.used, "the usage is last")?;
        match choices.as_array().map(Vec::as_slice) {
            Some([]) => {
                self.used = true;
                must(self.include_usage, "usage unasked")?;
                let usage = usage.unwrap_or_default();
                let count = |name: &str| usage[name].as_u64();
                let total = count("prompt_tokens").zip(count("completion_tokens"));
                must(
                    total.map(|(a, b)| a + b) == count("total_tokens") && total.is_some(),
                    "total",
                )
            }
            Some([choice]) => {
                let expected = self.include_usage.then_some(Value::Null);
                must(
                    usage == expected,
                    "usage is null where it is asked for, else absent",
                )?;
                self.choice(choice)
            }
            _ => Err("one choice".into()),
        }
    }

    fn choice(&mut self, choice: &Value) -> Result<(), String> {
        must(choice["index"] == 0, "index")?;
        must(!self.finished, "nothing comes after the finish")?;
        let delta = choice["delta"].as_object().ok_or("delta")?;
        let said: Vec<&str> = delta.keys().map(String::as_str).collect();
        match &choice["finish_reason"] {
            Value::Null => {}
            Value::String(reason) => {
                self.finished = true;
                let known = ["stop", "length", "tool_calls", "content_filter"];
                must(known.contains(&reason.as_str()), "finish_reason")?;
                must(delta.is_empty() && self.role, "the finish stands alone")?;
                return Ok(());
            }
            _ => return Err("finish_reason".into()),
        }
        if !self.role {
            self.role = true;
            must(
                delta.get("role") == Some(&"assistant".into()),
                "the role comes first",
            )?;
            return must(delta.get("content") == Some(&"".into()), "and says nothing");
        }
        match said.as_slice() {
            ["content" | "refusal" | "reasoning_content"] => {
                self.in_call = false;
                let text = delta.values().next().and_then(Value::as_str);
                must(text.is_some_and(|text| !text.is_empty()), "a text")
            }
            ["tool_calls"] => self.call(&delta["tool_calls"]),
            _ => Err("one thing at a time".into()),
        }
    }

    fn call(&mut self, calls: &Value) -> Result<(), String> {
        let [call] = calls.as_array().ok_or("an array")?.as_slice() else {
            return Err("one call at a time".into());
        };
        let index = usize::try_from(call["index"].as_u64().ok_or("index")?).unwrap();
        let piece = call["function"]["arguments"].as_str().ok_or("arguments")?;
        if index == self.calls.len() {
            self.calls.push(piece.to_owned());
            self.in_call = true;
            must(call["type"] == "function", "type")?;
            must(
                call["function"]["name"]
                    .as_str()
                    .is_some_and(|name| !name.is_empty()),
                "name",
            )?;
            return must(call["id"].as_str().is_some_and(|id| !id.is_empty()), "id");
        }
        must(
            self.in_call && index + 1 == self.calls.len(),
            "more of the last call alone",
        )?;
        must(
            call.get("id").is_none() && call.get("type").is_none(),
            "named once",
        )?;
        must(call["function"].get("name").is_none(), "named once")?;
        self.calls[index].push_str(piece);
        Ok(())
    }
}
