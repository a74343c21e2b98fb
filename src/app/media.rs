//! Moderations, images and audio: passed on with the real model put in, and booked.

use serde_json::Value;

use super::attempt::bytes_to_tokens;
use super::body::{json_body, read_body};
use super::call::Wishes;
use super::gate::{Caller, admit_call, may_call};
use super::port::{ByteSource, Port};
use super::raw::{self, RawBody, RawCall};
use super::reply::Reply;
use super::request::Head;
use super::stored;
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::bound::MAX_FORM_IMAGES;
use crate::domain::llm::plan::find_alias;
use crate::domain::llm::raw::Asked;
use crate::domain::llm::request::{invalid, missing};
use crate::domain::settings::ActiveAlias;
use crate::domain::settings::config::{LimitClass, Serves};

/// `POST /v1/moderations`
///
/// # Errors
/// As for a chat call.
pub async fn moderations<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    json_call(
        port,
        caller,
        head,
        body,
        "/moderations",
        Serves::Moderations,
    )
    .await
}

/// `POST /v1/images/…` and `POST /v1/audio/…`
///
/// # Errors
/// As for a chat call.
pub async fn media<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    path: &'static str,
) -> Result<Reply<P>, Refusal> {
    let below = path.strip_prefix("/v1").unwrap_or(path);
    match below {
        "/images/generations" => json_call(port, caller, head, body, below, Serves::Images).await,
        "/audio/speech" => json_call(port, caller, head, body, below, Serves::Speech).await,
        _ if below.starts_with("/images/") => {
            form_call(port, caller, head, body, below, Serves::Images).await
        }
        _ => form_call(port, caller, head, body, below, Serves::Transcriptions).await,
    }
}

async fn json_call<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    path: &str,
    serves: Serves,
) -> Result<Reply<P>, Refusal> {
    let fields = json_body(port, head, body).await?;
    let name = match fields.get("model") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        Some(Value::String(_)) | None | Some(Value::Null) => return Err(missing("model")),
        Some(_) => return Err(invalid("model", "must be a text")),
    };
    let input = fields.get("input").or_else(|| fields.get("prompt"));
    let input_bytes = input.map_or(0, |value| value.to_string().len() as u64);
    let alias = find_alias(port.settings(), &name)?;
    may_call(port, caller, &alias.config)?;
    check_size(alias, input_bytes)?;
    if fields.get("stream").and_then(Value::as_bool) == Some(true) {
        return Err(streamed("stream"));
    }
    if fields.get("stream_format").and_then(Value::as_str) == Some("sse") {
        return Err(streamed("stream_format"));
    }
    if serves == Serves::Images
        && let Some(count) = fields.get("n")
    {
        let good = count.is_null() || count.as_u64().is_some_and(|count| count > 0);
        if !good {
            return Err(invalid("n", "must be a whole number of at least 1"));
        }
    }
    let read_aloud = input.filter(|_| serves == Serves::Speech);
    let characters = read_aloud
        .and_then(Value::as_str)
        .map_or(0, |text| text.chars().count() as u64);
    let call = RawCall {
        alias: name,
        serves,
        path: path.to_owned(),
        asked: Asked {
            tokens: bytes_to_tokens(input_bytes),
            characters,
            audio_bytes: 0,
        },
        body: RawBody::Json(fields),
        wishes: wishes(head),
    };
    answer(port, caller, head, alias, &call).await
}

/// A form with files is passed on as it is, but for the model's name.
async fn form_call<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    path: &str,
    serves: Serves,
) -> Result<Reply<P>, Refusal> {
    let content_type = head.content_type.clone().unwrap_or_default();
    if !content_type
        .to_ascii_lowercase()
        .starts_with("multipart/form-data")
    {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the form as multipart/form-data."));
    }
    let cap = port.settings().config.server.max_form_bytes;
    let bytes = read_body(head, body, cap).await?;
    let field = form_field(&content_type, &bytes, "model").ok_or_else(|| missing("model"))?;
    let behind = bytes.get(field.end..).unwrap_or_default();
    if form_field(&content_type, behind, "model").is_some() {
        return Err(invalid("model", "must stand in the form once"));
    }
    let text = |field| str::from_utf8(bytes.get(field)?).ok().map(str::trim);
    let text_of = |name| form_field(&content_type, &bytes, name).and_then(text);
    let name = text(field.clone()).unwrap_or_default().to_owned();
    let alias = find_alias(port.settings(), &name)?;
    may_call(port, caller, &alias.config)?;
    check_size(alias, text_of("prompt").map_or(0, str::len) as u64)?;
    if text_of("stream").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(streamed("stream"));
    }
    if serves == Serves::Images {
        check_count(&content_type, &bytes)?;
    }
    let call = RawCall {
        alias: name,
        serves,
        path: path.to_owned(),
        asked: Asked {
            tokens: bytes_to_tokens(text_of("prompt").map_or(0, str::len) as u64),
            characters: 0,
            audio_bytes: if serves == Serves::Transcriptions {
                bytes.len() as u64
            } else {
                0
            },
        },
        body: RawBody::form(&content_type, &bytes, field),
        wishes: wishes(head),
    };
    answer(port, caller, head, alias, &call).await
}

/// Admits, and asks: here, or for a keyed call in its object.
async fn answer<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    alias: &ActiveAlias,
    call: &RawCall,
) -> Result<Reply<P>, Refusal> {
    if alias.config.serves != call.serves {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    let admission = admit_call(port, caller, Some(&call.alias), LimitClass::Chat).await?;
    let reply = match &head.idempotency_key {
        Some(key) => stored::ask_raw(port, caller, key, call).await,
        None => raw::ask(port, caller, alias, call).await.map(raw::reply),
    };
    let (reply, limits) = admission.over(port, caller, reply).await?;
    Ok(reply.headers(limits))
}

/// Deadlines that the caller lowers.
#[must_use]
pub fn wishes(head: &Head) -> Wishes {
    Wishes {
        first_token_ms: head.first_token_ms,
        total_ms: head.total_ms,
        ..Wishes::default()
    }
}

fn check_size(alias: &ActiveAlias, bytes: u64) -> Result<(), Refusal> {
    if bytes <= alias.config.max_input_bytes {
        return Ok(());
    }
    Err(Refusal::new(Code::InputTooLong).detail(format!(
        "The input has {bytes} bytes; this alias accepts {}.",
        alias.config.max_input_bytes
    )))
}

/// A form asks for 1 to [`MAX_FORM_IMAGES`] pictures, and says so once: what a budget reserves for one.
fn check_count(content_type: &str, form: &[u8]) -> Result<(), Refusal> {
    let Some(field) = form_field(content_type, form, "n") else {
        return Ok(());
    };
    let text = form.get(field.clone()).unwrap_or_default();
    let count = str::from_utf8(text).ok().map(str::trim);
    let good = count
        .and_then(|count| count.parse().ok())
        .is_some_and(|count| (1..=MAX_FORM_IMAGES).contains(&count));
    let behind = form.get(field.end..).unwrap_or_default();
    if good && form_field(content_type, behind, "n").is_none() {
        return Ok(());
    }
    Err(invalid(
        "n",
        "must be a whole number from 1 to 10, and stand in the form once",
    ))
}

/// Images and audio come whole: a stream of theirs could be neither judged nor counted here.
fn streamed(param: &str) -> Refusal {
    Refusal::new(Code::UnsupportedParameter)
        .param(param)
        .detail("Images and audio are not streamed here; leave it out to get the whole answer.")
}

/// Where the value of a form's text field stands (RFC 7578). Parts are found by the boundary, so that nothing inside a
/// file is taken for a field.
fn form_field(content_type: &str, body: &[u8], name: &str) -> Option<core::ops::Range<usize>> {
    let delimiter = format!("\r\n--{}", boundary(content_type)?);
    let name = format!("name=\"{name}\"");
    let find = |needle: &[u8], from: usize| {
        body.get(from..)?
            .windows(needle.len())
            .position(|w| w == needle)
            .map(|at| at.saturating_add(from))
    };
    // The first delimiter may stand at the very beginning, without a line end before it.
    let first = delimiter.trim_start().as_bytes();
    let mut part = find(first, 0)?.saturating_add(first.len());
    loop {
        let start = find(b"\r\n\r\n", part)?.saturating_add(4);
        let end = find(delimiter.as_bytes(), start.saturating_sub(2))?;
        let head = String::from_utf8_lossy(body.get(part..start)?).to_ascii_lowercase();
        if head.contains(&name) && !head.contains("filename") {
            return Some(start..end.max(start));
        }
        part = end.saturating_add(delimiter.len());
    }
}

/// The boundary of a multipart content type (RFC 2046 §5.1.1), quoted or not.
fn boundary(content_type: &str) -> Option<&str> {
    let given = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value)
    })?;
    let bare = given.trim().trim_matches('"');
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::{boundary, form_field};

    const FORM: &str = "multipart/form-data; charset=utf-8; boundary=\"b-1\"";

    fn model(body: &str) -> Option<&str> {
        body.get(form_field(FORM, body.as_bytes(), "model")?)
    }

    #[test]
    fn the_model_is_found_wherever_it_stands_and_never_inside_a_file() {
        let file = "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\r\nname=\"model\"\r\n\r\nwrong\r\n--b\r\n";
        let field = "--b-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nright\r\n";
        let end = "--b-1--\r\n";
        assert_eq!(model(&format!("{field}{file}{end}")), Some("right"));
        assert_eq!(model(&format!("{file}{field}{end}")), Some("right"));
        assert_eq!(
            model(&format!("preamble\r\n{file}{field}{end}")),
            Some("right")
        );
        assert_eq!(model(&format!("{file}{end}")), None);
        assert_eq!(
            model("--b-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ncut"),
            None
        );
    }

    #[test]
    fn a_boundary_is_read_quoted_or_not() {
        assert_eq!(boundary(FORM), Some("b-1"));
        assert_eq!(boundary("multipart/form-data;Boundary=x"), Some("x"));
        assert_eq!(boundary("multipart/form-data; boundary="), None);
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
