//! Content parts.

use serde_json::Value;

use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{CacheMark, Part, Source, Unplaced};
use crate::domain::llm::normal::feature::Feature;

/// A message's content; `None` when it is not said.
pub(super) fn read(
    message: &Fields<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Option<Vec<Part>>, Refusal> {
    match message.get("content") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(vec![Part::text(text.as_str())])),
        Some(Value::Array(items)) => {
            let mut parts = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                let item = Fields::at(item, message.path(&format!("content[{i}]")))?;
                parts.extend(part(&item, unplaced)?);
            }
            Ok(Some(parts))
        }
        Some(_) => Err(message.invalid("content", "must be a text or an array of content parts")),
    }
}

fn part(item: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let kind = item.required_text("type")?;
    let feature = match kind {
        "text" => {
            let text = item.text("text")?.ok_or_else(|| item.missing("text"))?;
            known(item, "text", unplaced);
            return Ok(Some(Part::Text {
                text: text.to_owned(),
                cache: cache_mark(item)?,
            }));
        }
        "image_url" => return image(item, unplaced).map(Some),
        "file" => return file(item, unplaced),
        "refusal" => {
            known(item, "refusal", unplaced);
            return Ok(Some(Part::Refusal(
                item.required_text("refusal")?.to_owned(),
            )));
        }
        "input_audio" | "audio_url" => Feature::Audio,
        // Thinking that some servers hand out as a part and that comes back with the history.
        "thinking" | "redacted_thinking" | "reasoning" => Feature::Hint,
        // vLLM's `video_url` and whatever else servers know: for them to judge, if it reaches them as it is.
        _ => Feature::Other,
    };
    item.unplaced("", feature, unplaced);
    Ok(None)
}

fn image(item: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Part, Refusal> {
    known(item, "image_url", unplaced);
    let cache = cache_mark(item)?;
    // Ollama's documentation shows the address without an object around it.
    if let Some(Value::String(url)) = item.get("image_url") {
        let source = source(url).map_err(|rule| item.invalid("image_url", rule))?;
        return Ok(Part::Image {
            source,
            detail: None,
            cache,
        });
    }
    let image = item.required_object("image_url")?;
    image.leftovers(&["url", "detail"], Feature::Other, unplaced);
    let source = source(image.required_text("url")?).map_err(|rule| image.invalid("url", rule))?;
    let detail = image.text("detail")?.filter(|detail| *detail != "auto");
    Ok(Part::Image {
        source,
        detail: detail.map(str::to_owned),
        cache,
    })
}

fn file(item: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    known(item, "file", unplaced);
    let file = item.required_object("file")?;
    let Some(data) = file.text("file_data")? else {
        if file.text("file_id")?.is_none() {
            return Err(file.missing("file_data"));
        }
        file.unplaced("file_id", Feature::Reference, unplaced);
        return Ok(None);
    };
    file.leftovers(&["file_data", "filename"], Feature::Other, unplaced);
    Ok(Some(Part::File {
        source: source(data).map_err(|rule| file.invalid("file_data", rule))?,
        name: file.text("filename")?.map(str::to_owned),
        cache: cache_mark(item)?,
    }))
}

/// Reports the fields of a part that nobody reads.
fn known(item: &Fields<'_>, own: &str, unplaced: &mut Vec<Unplaced>) {
    item.leftovers(
        &["type", own, "prompt_cache_breakpoint", "cache_control"],
        Feature::Other,
        unplaced,
    );
}

/// An address, or bytes as a data URL (RFC 2397) in base64.
fn source(url: &str) -> Result<Source, &'static str> {
    let is_data = url
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_data {
        return if url.contains("://") {
            Ok(Source::Url(url.to_owned()))
        } else {
            Err("must be an address such as `https://…` or `data:image/png;base64,…`")
        };
    }
    const RULE: &str =
        "must be a data URL with a content type and base64, such as `data:image/png;base64,…`";
    let (head, data) = url
        .get(5..)
        .and_then(|rest| rest.split_once(','))
        .ok_or(RULE)?;
    let media_type = head.strip_suffix(";base64").ok_or(RULE)?;
    // Parameters (`;name=…`) are not part of the content type as other dialects take it.
    let media_type = media_type.split(';').next().unwrap_or_default();
    if !media_type.contains('/') || data.is_empty() {
        return Err(RULE);
    }
    Ok(Source::Base64 {
        media_type: media_type.to_owned(),
        data: data.to_owned(),
    })
}

/// A cache breakpoint: OpenAI's `prompt_cache_breakpoint`, whose lifetimes are 30 minutes and more where it names one,
/// or Anthropic's `cache_control`, as OpenRouter, LiteLLM and others take it in this dialect.
pub(super) fn cache_mark(fields: &Fields<'_>) -> Result<Option<CacheMark>, Refusal> {
    if let Some(control) = fields.object("cache_control")? {
        return Ok(Some(match control.text("ttl")? {
            Some("1h") => CacheMark::OneHour,
            _ => CacheMark::FiveMinutes,
        }));
    }
    let Some(breakpoint) = fields.object("prompt_cache_breakpoint")? else {
        return Ok(None);
    };
    Ok(Some(match breakpoint.text("ttl")? {
        Some(_) => CacheMark::OneHour,
        None => CacheMark::FiveMinutes,
    }))
}
