//! The content of messages and of tool results.

use serde_json::Value;

use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{CacheMark, Part, Source, Unplaced};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// Reads a text or an array of parts. Empty texts say nothing and become no part.
pub(super) fn read(
    value: &Value,
    path: &str,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Vec<Part>, Refusal> {
    match value {
        Value::String(plain) => Ok(text(plain)),
        Value::Array(parts) => {
            let mut read = Vec::with_capacity(parts.len());
            for (i, part) in parts.iter().enumerate() {
                let part = Fields::at(part, format!("{path}[{i}]"))?;
                read.extend(read_part(&part, unplaced)?);
            }
            Ok(read)
        }
        _ => Err(invalid(path, "must be a text or an array of content parts")),
    }
}

/// A plain text as parts.
pub(super) fn text(text: &str) -> Vec<Part> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![Part::text(text)]
    }
}

fn read_part(part: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let feature = match part.required_text("type")? {
        "input_text" | "output_text" => return text_part(part, unplaced),
        "refusal" => return refusal_part(part, unplaced),
        "input_image" => return image_part(part, unplaced),
        "input_file" => return file_part(part, unplaced),
        "input_audio" => Feature::Audio,
        _ => Feature::Other,
    };
    unplaced.push(Unplaced {
        feature,
        param: part.path().to_owned(),
    });
    Ok(None)
}

fn text_part(part: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let text = text_of(part, "text")?;
    part.others(&["type", "text", BREAKPOINT], Feature::Hint, unplaced);
    Ok((!text.is_empty()).then(|| Part::Text {
        text: text.to_owned(),
        cache: cache_mark(part),
    }))
}

fn refusal_part(part: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let text = text_of(part, "refusal")?;
    part.others(&["type", "refusal"], Feature::Hint, unplaced);
    Ok((!text.is_empty()).then(|| Part::Refusal(text.to_owned())))
}

fn image_part(part: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let detail = part.word("detail", &["auto", "low", "high", "original"])?;
    part.others(
        &["type", "detail", "image_url", "file_id", BREAKPOINT],
        Feature::Hint,
        unplaced,
    );
    let Some(url) = part.text("image_url")? else {
        return stored(part, "image_url", unplaced);
    };
    Ok(Some(Part::Image {
        source: source(part, "image_url", url)?,
        detail: detail.filter(|word| *word != "auto").map(str::to_owned),
        cache: cache_mark(part),
    }))
}

fn file_part(part: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<Option<Part>, Refusal> {
    let name = part.text("filename")?;
    let known = [
        "type",
        "filename",
        "file_data",
        "file_url",
        "file_id",
        BREAKPOINT,
    ];
    part.others(&known, Feature::Hint, unplaced);
    let source = match (part.text("file_data")?, part.text("file_url")?) {
        (Some(data), _) if data.starts_with("data:") => source(part, "file_data", data)?,
        (Some(data), _) if !data.is_empty() => Source::Base64 {
            media_type: media_type_of(name.unwrap_or_default()).to_owned(),
            data: data.to_owned(),
        },
        (_, Some(url)) => source(part, "file_url", url)?,
        _ => return stored(part, "file_data", unplaced),
    };
    Ok(Some(Part::File {
        source,
        name: name.map(str::to_owned),
        cache: cache_mark(part),
    }))
}

/// A part that names a file stored at the provider, or nothing at all.
fn stored(
    part: &Fields<'_>,
    wanted: &str,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Option<Part>, Refusal> {
    if part.text("file_id")?.is_none() {
        return Err(missing(&part.path_of(wanted)));
    }
    part.unplace("file_id", Feature::Reference, unplaced);
    Ok(None)
}

fn text_of<'a>(part: &Fields<'a>, name: &str) -> Result<&'a str, Refusal> {
    part.required(name)?
        .as_str()
        .ok_or_else(|| part.wrong(name, "must be a text"))
}

/// An address of the web, or a data URL (RFC 2397) in base64.
fn source(part: &Fields<'_>, name: &str, url: &str) -> Result<Source, Refusal> {
    let wrong = || part.wrong(name, "must be an https address or a data URL in base64");
    let Some(inline) = url.strip_prefix("data:") else {
        let web = url.starts_with("https://") || url.starts_with("http://");
        return web.then(|| Source::Url(url.to_owned())).ok_or_else(wrong);
    };
    let (head, data) = inline.split_once(',').ok_or_else(wrong)?;
    let media_type = head.strip_suffix(";base64").ok_or_else(wrong)?;
    let media_type = media_type.split(';').next().unwrap_or_default();
    if media_type.is_empty() || data.is_empty() {
        return Err(wrong());
    }
    Ok(Source::Base64 {
        media_type: media_type.to_owned(),
        data: data.to_owned(),
    })
}

/// The content type of bare base64, by the file's name.
fn media_type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("html") => "text/html",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        // What files in requests nearly always are.
        _ => "application/pdf",
    }
}

const BREAKPOINT: &str = "prompt_cache_breakpoint";

fn cache_mark(part: &Fields<'_>) -> Option<CacheMark> {
    let mark = part.get(BREAKPOINT)?;
    Some(match mark.get("ttl").and_then(Value::as_str) {
        None => CacheMark::FiveMinutes,
        Some(_) => CacheMark::OneHour,
    })
}
