//! `POST /ask`: the plain form, which works without JavaScript, and the pages that refuse.

use serde_json::{Map, Value, json};

use super::body::read_body;
use super::chat::answer_chat;
use super::gate::Caller;
use super::port::{ByteSource, Port};
use super::render::plain_text;
use super::reply::{Body, Reply};
use super::request::{Head, form_pairs};
use crate::base::errors::{Code, Refusal, Text};
use crate::base::headers::CONTENT_SECURITY_POLICY;
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::find_alias;
use crate::domain::llm::request::{chat_request, invalid, missing};
use crate::domain::page::{escape, fill, markdown};
use crate::domain::settings::Settings;
use crate::domain::settings::config::Serves;

/// The page that the site's builder makes for answers; `<!--gatehouse:NAME-->` marks the places to fill.
const TEMPLATE: &str = "/gatehouse/ask";
/// The same in Simplified Chinese.
const TEMPLATE_ZH: &str = "/gatehouse/ask.zh";

/// Longest question of the form, in characters; the form itself says so too.
const MAX_QUESTION_CHARS: usize = 8000;

/// Answers the form: read it, ask the alias without streaming, and send a page.
///
/// # Errors
/// As for a chat call; they are rendered as pages.
pub async fn ask<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let media_type = head
        .content_type
        .as_deref()
        .and_then(|t| t.split(';').next())
        .map(str::trim);
    if media_type != Some("application/x-www-form-urlencoded") {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the form as application/x-www-form-urlencoded."));
    }
    let cap = port.settings().config.server.max_body_bytes;
    let bytes = read_body(head, body, cap).await?;
    let text = str::from_utf8(&bytes).map_err(|_| Refusal::new(Code::InvalidEncoding))?;
    let value = |name: &str| {
        let found = form_pairs(text).find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let question = value("question").ok_or_else(|| missing("question"))?;
    if question.chars().count() > MAX_QUESTION_CHARS {
        return Err(invalid("question", "must have at most 8000 characters"));
    }
    let settings = port.settings();
    let alias_name = match value("model") {
        Some(name) => name,
        None => settings
            .default_alias()
            .map(|alias| alias.config.name.clone())
            .ok_or_else(|| Refusal::new(Code::ProviderNotConfigured))?,
    };
    let alias = find_alias(settings, &alias_name)?;
    let protocol = Protocol::Chat;
    let fields = request_fields(&alias_name, &question, alias.config.max_output_tokens);
    let request = chat_request(fields, protocol)?;
    let mut reply = answer_chat(port, caller, head, &request).await?;

    let Body::Bytes(bytes) = &reply.body else {
        return Err(Refusal::new(Code::Internal).cause("a whole answer was expected"));
    };
    let answer = plain_text(protocol, bytes)
        .ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("no text"))?;
    let builtin = reply
        .headers
        .iter()
        .any(|(name, _)| *name == "x-gatehouse-answerer");
    let note = if builtin {
        builtin_note(head, settings)
    } else {
        String::new()
    };
    let page = page(port, head, 200, &question, &markdown(&answer), &note).await;
    // The limits' headers and the cache's word stay; the body and its type are the page's.
    reply
        .headers
        .retain(|(name, _)| !matches!(*name, "content-type" | "cache-control"));
    let kept = std::mem::take(&mut reply.headers);
    Ok(Reply {
        outcome: reply.outcome,
        after: reply.after,
        ..page.headers(kept)
    })
}

/// A refusal as a page: its cause and its way out before its code.
pub async fn error_page<P: Port>(
    port: &P,
    head: &Head,
    refusal: &Refusal,
    text: &Text,
    request_id: &str,
) -> Reply<P> {
    let entry = refusal.code.entry();
    let chinese = head.prefers_chinese();
    let (reference, more) = if chinese {
        ("请求标识", "关于此错误")
    } else {
        ("Request id", "About this error")
    };
    let detail = refusal
        .detail
        .as_deref()
        .map(|detail| format!("<p>{}</p>", escape(detail)))
        .unwrap_or_default();
    let body = format!(
        "<div class=\"refusal\" role=\"alert\"><p><strong>{}</strong></p>{detail}<p>{}</p>\
         <p class=\"meta\">{reference}: <code>{}</code>. <a href=\"/docs/errors/{code}\">{more}: <code>{code}</code></a></p></div>",
        escape(text.title),
        escape(text.fix),
        escape(request_id),
        code = entry.code,
    );
    page(port, head, entry.status, text.title, &body, "").await
}

fn request_fields(alias: &str, question: &str, max_tokens: u64) -> Map<String, Value> {
    let fields = json!({
        "model": alias,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": question}],
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn builtin_note(head: &Head, settings: &Settings) -> String {
    let chinese = head.prefers_chinese();
    let mark = if chinese {
        "内置回答，未使用模型：以下内容引自本站页面。"
    } else {
        "Built-in, no model: this quotes the site's own pages."
    };
    let hint = match super::models::activator(settings) {
        Some(variable) if chinese => {
            format!("若要使用模型，请在文件 .dev.vars 中加入一行 {variable}=… 并重新启动。")
        }
        Some(_) => super::models::hint(settings).unwrap_or_default(),
        None => String::new(),
    };
    format!("<p class=\"note\">{mark} {}</p>", escape(&hint))
}

/// Fills the template; without it, a page that needs no style.
async fn page<P: Port>(
    port: &P,
    head: &Head,
    status: u16,
    question: &str,
    answer: &str,
    note: &str,
) -> Reply<P> {
    let settings = port.settings();
    let title = escape(&settings.config.site.title);
    let question = escape(question);
    let models = model_options(settings);
    let values = [
        ("title", title.as_str()),
        ("question", question.as_str()),
        ("answer", answer),
        ("note", note),
        ("models", models.as_str()),
    ];
    let chinese = head.prefers_chinese();
    let template = match port
        .asset(if chinese { TEMPLATE_ZH } else { TEMPLATE })
        .await
    {
        Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
        _ => String::new(),
    };
    let template = if template.is_empty() { BARE } else { &template };
    let language = if chinese { "zh-Hans" } else { "en" };
    Reply::status(status)
        .header("content-type", "text/html; charset=utf-8")
        .header("content-language", language)
        .header("cache-control", "no-store")
        .header("content-security-policy", CONTENT_SECURITY_POLICY)
        // With `no-referrer` a browser would send its forms with `Origin: null`.
        .header("referrer-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin")
        .header("cross-origin-opener-policy", "same-origin")
        .bytes(fill(template, &values))
}

const BARE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title><!--gatehouse:title--></title>\
<h1><!--gatehouse:question--></h1><!--gatehouse:note--><!--gatehouse:answer--><p><a href=\"/\">Back</a></p></html>";

fn model_options(settings: &Settings) -> String {
    settings
        .aliases
        .iter()
        .filter(|alias| {
            alias.config.public && alias.config.serves == Serves::Chat && !alias.targets.is_empty()
        })
        .map(|alias| {
            let title = alias.config.title.as_deref().unwrap_or(&alias.config.name);
            format!(
                "<option value=\"{}\">{}</option>",
                escape(&alias.config.name),
                escape(title)
            )
        })
        .collect()
}
