//! Short requests to services that the operator named: no redirects, bounded answers, bounded time.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use super::port::Port;
use crate::base::time::Millis;
use crate::domain::llm::upstream::{UpstreamFault, UpstreamRequest};

/// Posts, and reads the answer when its status says that it is one.
///
/// # Errors
/// What went wrong, for the log.
pub async fn post<P: Port>(
    port: &P,
    request: UpstreamRequest<'_>,
    cap: u64,
    patience: Millis,
) -> Result<Vec<u8>, String> {
    let call = port.call(request, false);
    let answered = async {
        let head = port.head(&call).await.map_err(words)?;
        if !(200..300).contains(&head.status) {
            return Err(format!("status {}", head.status));
        }
        port.rest(&call, cap).await.map_err(words)
    };
    let mut answered = pin!(answered);
    let mut late = pin!(port.sleep(patience));
    let answer = poll_fn(|context| {
        if let Poll::Ready(answer) = answered.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        late.as_mut().poll(context).map(|()| None)
    })
    .await;
    if !matches!(answer, Some(Ok(_))) {
        port.abort(&call);
    }
    answer.unwrap_or_else(|| Err(format!("no answer within {} s", patience.secs())))
}

fn words(fault: UpstreamFault) -> String {
    format!("{fault:?}")
}
