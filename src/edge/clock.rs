//! The only place that reads the clock and draws randomness.

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
