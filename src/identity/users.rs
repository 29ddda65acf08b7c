//! Three-legged tokens: detects them and reads the end user, the user's device and operator.
//!
//! No CAMARA release defines how to distinguish them from two-legged tokens or how they identify
//! the device, so both are configured per issuer.

use std::sync::Arc;

use super::{InvalidToken, claims::Claims};
use crate::qod::{Device, Nai, OperatorId, PhoneNumber, TokenSubject, Verbatim};

/// How end users are read from an issuer's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserClaims {
    /// How three-legged tokens are detected.
    pub detection: UserDetection,
    /// The claim with the phone number of the user's device.
    pub phone_number_claim: Option<String>,
    /// The claim with its network access identifier.
    pub nai_claim: Option<String>,
    /// The users' operator. `None` means that it is determined from the device.
    pub operator: Option<OperatorId>,
}

/// How a three-legged token is detected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserDetection {
    /// It has a `sub` that differs from the client id.
    #[default]
    Subject,
    /// It has this claim.
    Claim(String),
    /// Never: all tokens are two-legged.
    Never,
}

/// The end user of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) subject: TokenSubject,
    /// The user's device, if the token identifies it.
    pub(super) device: Option<Device>,
    pub(super) operator: Option<OperatorId>,
}

impl UserClaims {
    /// Returns the end user of a token issued to this client, or `None` for a two-legged token.
    pub(super) fn read_user(
        &self,
        issuer: &Arc<str>,
        client: &str,
        claims: &Claims<'_>,
    ) -> Result<Option<User>, InvalidToken> {
        let subject = match claims.text("sub")? {
            Some("") => return Err(InvalidToken::Claims),
            subject => subject,
        };
        let three_legged = match &self.detection {
            UserDetection::Subject => subject.is_some_and(|subject| subject != client),
            UserDetection::Claim(name) => claims.has(name),
            UserDetection::Never => false,
        };
        if !three_legged {
            return Ok(None);
        }
        let subject = subject.ok_or(InvalidToken::Claims)?.into();
        let subject = TokenSubject { issuer: Arc::clone(issuer), subject };
        Ok(Some(User { subject, device: self.device(claims)?, operator: self.operator.clone() }))
    }

    // An invalid device claim is an error: a wrong device is worse than none.
    fn device(&self, claims: &Claims<'_>) -> Result<Option<Device>, InvalidToken> {
        let text = |name: &Option<String>| match name {
            Some(name) => claims.text(name),
            None => Ok(None),
        };
        let number = text(&self.phone_number_claim)?.map(|text| {
            let digits = text.strip_prefix("tel:").unwrap_or(text);
            digits
                .parse::<PhoneNumber>()
                .map(Verbatim::from_value)
                .map_err(|_| InvalidToken::Claims)
        });
        let nai = text(&self.nai_claim)?
            .map(|text| text.parse::<Nai>().map_err(|_| InvalidToken::Claims));
        let device =
            Device { phone: number.transpose()?, nai: nai.transpose()?, ..Device::default() };
        Ok((!device.is_empty()).then_some(device))
    }
}
