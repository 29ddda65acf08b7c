//! Three-legged tokens: detects them and reads the end user, the user's device and operator.
//!
//! No CAMARA release defines how to distinguish them from two-legged tokens or how they identify
//! the device, so both are configured per issuer.

use std::{collections::BTreeMap, sync::Arc};

use super::{InvalidToken, claims::Claims};
use crate::qod::{Device, Nai, OperatorId, PhoneNumber, TokenSubject, Verbatim};

/// How end users are read from an issuer's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserClaims {
    /// How three-legged tokens are detected.
    pub detection: UserDetection,
    /// Claims that mark the token of a service account, with their values. A token with one of them
    /// is two-legged, whatever its `sub`. In a value, `{client_id}` is replaced by the client id.
    pub service_accounts: BTreeMap<String, String>,
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

/// Replaced by the client id in a value of [`UserClaims::service_accounts`].
const CLIENT_ID_PLACEHOLDER: &str = "{client_id}";

// The policy keys that name the claims, for errors.
const NUMBER_KEY: &str = "phone_number_claim";
const NAI_KEY: &str = "network_access_identifier_claim";

impl UserClaims {
    /// Returns the end user of a token issued to this client, or `None` for a two-legged token.
    pub(super) fn read_user(
        &self,
        issuer: &Arc<str>,
        client: &str,
        claims: &Claims<'_>,
    ) -> Result<Option<User>, InvalidToken> {
        let subject = match claims.text("sub")? {
            Some("") => return Err(InvalidToken::ClaimInvalid("sub")),
            subject => subject,
        };
        if self.is_service_account(client, claims) {
            return Ok(None);
        }
        let three_legged = match &self.detection {
            UserDetection::Subject => subject.is_some_and(|subject| subject != client),
            UserDetection::Claim(name) => claims.has(name),
            UserDetection::Never => false,
        };
        if !three_legged {
            return Ok(None);
        }
        let subject = subject.ok_or(InvalidToken::ClaimMissing("sub"))?.into();
        let subject = TokenSubject { issuer: Arc::clone(issuer), subject };
        Ok(Some(User { subject, device: self.device(claims)?, operator: self.operator.clone() }))
    }

    fn is_service_account(&self, client: &str, claims: &Claims<'_>) -> bool {
        self.service_accounts.iter().any(|(name, value)| {
            let claim = claims.text_named(name, "service_account_claims").ok().flatten();
            claim.is_some_and(|claim| claim == value.replace(CLIENT_ID_PLACEHOLDER, client))
        })
    }

    // An invalid device claim is an error: a wrong device is worse than none.
    fn device(&self, claims: &Claims<'_>) -> Result<Option<Device>, InvalidToken> {
        let text = |name: &Option<String>, label| match name {
            Some(name) => claims.text_named(name, label),
            None => Ok(None),
        };
        let number = text(&self.phone_number_claim, NUMBER_KEY)?
            .map(|text| parse_phone_number(text).ok_or(InvalidToken::ClaimInvalid(NUMBER_KEY)));
        let nai = text(&self.nai_claim, NAI_KEY)?
            .map(|text| text.parse::<Nai>().map_err(|_| InvalidToken::ClaimInvalid(NAI_KEY)));
        let device =
            Device { phone: number.transpose()?, nai: nai.transpose()?, ..Device::default() };
        Ok((!device.is_empty()).then_some(device))
    }
}

/// Parses a global number as in OIDC Core §5.1: E.164, or RFC 3966 with visual separators, such as
/// `+1 (425) 555-0112` and `tel:+1-425-555-0112`. A number with parameters, such as an extension,
/// names no mobile device.
fn parse_phone_number(text: &str) -> Option<Verbatim<PhoneNumber>> {
    let text = match text.split_at_checked(4) {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel:") => number,
        _ => text,
    };
    let digits = text.strip_prefix('+')?;
    let is_separator = |character| matches!(character, ' ' | '-' | '.' | '(' | ')');
    let number = format!("+{}", digits.replace(is_separator, ""));
    number.parse().map(Verbatim::from_value).ok()
}
