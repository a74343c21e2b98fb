//! `POST /v1/messages/count_tokens`: our own count, since an alias may stand for models of several providers.

use serde_json::{Value, json};

use super::body::json_body;
use super::gate::{Caller, admit, may_call};
use super::port::{ByteSource, Port};
use super::reply::Reply;
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::find_alias;
use crate::domain::llm::request::chat_request;
use crate::domain::llm::tokens;
use crate::domain::settings::config::{LimitClass, Serves};

/// Counts the input tokens of a messages request, as an estimate that is marked as one.
///
/// # Errors
/// As for a chat call.
pub async fn count_tokens<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    let mut fields = json_body(port, head, body).await?;
    // The endpoint has no `max_tokens`; reading the request asks for one.
    fields.entry("max_tokens").or_insert(Value::from(1));
    let request = chat_request(fields, Protocol::Messages)?;
    let alias = find_alias(port.settings(), &request.alias)?;
    if alias.config.serves != Serves::Chat {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    may_call(port, caller, &alias.config)?;
    let limits = admit(port, caller, Some(&request.alias), LimitClass::Read).await?;
    let conversation = request.conversation()?;
    let own = alias.config.system.as_deref().map_or(0, tokens::text);
    let counted = tokens::conversation(conversation).saturating_add(own);
    let body = json!({"input_tokens": counted, "gatehouse": {"estimated": true}});
    Ok(Reply::json(200, body.to_string()).headers(limits))
}
