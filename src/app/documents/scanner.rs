//! The external scanner: one call, no redirects, a bounded answer. It is asked once a document is whole, beside the
//! scan of our own.
//!
//! ```text
//! let mut scanner = Scanner::new(Policy, Claim);           // each segment as it is stored
//! let report = scanner.finish();
//! let answer = ask(port, &external, token, subject, content).await;   // None: no service is set up
//! let state = State::after(&report, answer.as_ref());
//! ```

use crate::app::outward;
use crate::app::port::Port;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::documents::scan::external::{
    Answer, External, MAX_ANSWER, Subject, failed, read, request,
};
use crate::domain::llm::upstream::UpstreamRequest;

/// Asks the service about a document. `None` when there is none. `content` is all of the document, wherever
/// [`External::sends_content`] says that it is sent; without it the service is asked about the digest alone.
///
/// Never fails: what the service does not answer in time, or answers wrongly, is [`Answer::Unknown`], which holds the
/// document back where the settings say so.
pub async fn ask<P: Port>(
    port: &P,
    external: &External,
    token: Option<&Secret<String>>,
    subject: Subject<'_>,
    content: Option<&[u8]>,
) -> Option<Answer> {
    let url = external.url.as_ref()?;
    let content = content.filter(|content| {
        external.sends_content(subject.size) && u64::try_from(content.len()) == Ok(subject.size)
    });
    let body = request(subject, content);
    let key = token.map(|token| {
        (
            "authorization",
            Secret::new(format!("Bearer {}", token.reveal())),
        )
    });
    let upstream = UpstreamRequest {
        url: url.clone(),
        key,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.as_bytes(),
    };
    let patience = Millis::from_secs(external.timeout_seconds);
    let answer = outward::post(port, upstream, MAX_ANSWER as u64, patience).await;
    let answer = answer.and_then(|bytes| read(&bytes).map_err(|error| error.to_string()));
    Some(answer.unwrap_or_else(|why| failed(format!("scanner: {why}"), external.on_failure)))
}
