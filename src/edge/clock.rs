//! The only place that reads the clock and draws randomness.

use worker::wasm_bindgen_futures::JsFuture;

use super::glue;
use crate::base::time::Millis;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Millis {
    Millis(worker::Date::now().as_millis())
}

/// Random bytes from the platform's generator.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness no id can be made; ending the instance is the only safe answer.
        core::arch::wasm32::unreachable();
    }
    bytes
}

/// Waits. A wait that is dropped leaves no timer behind: a timer would keep an object alive.
pub async fn sleep(time: Millis) {
    struct Armed(glue::Timer);
    impl Drop for Armed {
        fn drop(&mut self) {
            self.0.clear();
        }
    }
    let armed = Armed(glue::timer(glue::as_f64(time.0)));
    // A timer cannot fail.
    let _ = JsFuture::from(armed.0.promise()).await;
}
