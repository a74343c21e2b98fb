//! Becoming an operator, signing in.

use schemars::JsonSchema;

use super::Time;
use crate::app::schema::objects;
use crate::domain::identity::roles::Role;

objects! {
    /// Is the house claimed?
    HouseState {
        /// Has it an owner?
        claimed: bool,
        /// Is `ADMIN_TOKEN` set, or not needed any more?
        admin_token_set: bool,
        /// What to do next.
        next: String,
    }

    /// The first answer to a newcomer: what to keep, and what to send back.
    Enrolment {
        /// To be sent back within 15 minutes.
        enrolment: String,
        /// `gho_…`: shown once.
        operator_key: String,
        /// For the authenticator, in base32.
        totp_secret: String,
        /// The same as an `otpauth` address.
        totp_uri: String,
        /// When the enrolment is void.
        expires_at: Time,
        /// What to do next.
        next: String,
    }

    /// A new operator.
    Joined {
        /// The operator's id.
        operator: String,
        /// Shown once; each is good once in place of a code.
        recovery_codes: Vec<String>,
        /// What to do next.
        next: String,
    }

    /// A session.
    SignedIn {
        /// The operator's id.
        operator: String,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// The session's id.
        session: String,
        /// Recovery codes that are left.
        recovery_codes_left: u32,
        /// The session's token: also the cookie, or `Authorization: Bearer` for programs.
        token: String,
        /// Until when no other code is asked for.
        fresh_until: Time,
    }

    /// The session is over.
    SignedOut {
        /// It is.
        signed_out: bool,
    }

    /// Who is signed in.
    OperatorSelf {
        /// The operator's id.
        operator: String,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// The session's id.
        session: String,
        /// The tenant.
        tenant: String,
        /// Until when no other code is asked for.
        fresh_until: Time,
        /// Is it so now?
        fresh: bool,
        /// Recovery codes that are left.
        recovery_codes_left: u32,
        /// Names of the rights.
        may: Vec<String>,
    }

    /// The second factor is confirmed.
    Confirmed {
        /// Until when no other code is asked for.
        fresh_until: Time,
    }

    /// A new operator key.
    NewOperatorKey {
        /// `gho_…`: shown once.
        operator_key: String,
    }

    /// The first step: a new secret.
    NewTotp {
        /// To be sent back.
        enrolment: String,
        /// For the authenticator, in base32.
        totp_secret: String,
        /// The same as an `otpauth` address.
        totp_uri: String,
    }

    /// The second step.
    TotpReplaced {
        /// It is.
        replaced: bool,
    }

    /// New recovery codes.
    RecoveryCodes {
        /// Shown once.
        recovery_codes: Vec<String>,
    }
}

/// One of two steps.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum TotpStep {
    /// The first.
    New(NewTotp),
    /// The second.
    Replaced(TotpReplaced),
}
