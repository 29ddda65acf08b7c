//! Three-legged tokens: which ones speak for a user, whose device that is, and whose subscriber.
//!
//! No CAMARA release says how to tell them from two-legged ones, nor what they say of the device: so
//! that is an issuer's own, and said of it.

use std::sync::Arc;

use super::{Reason, claims::Claims};
use crate::qod::{Device, Nai, OperatorId, PhoneNumber, Subject, Written};

/// What an issuer's tokens say of users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Which tokens speak for one.
    pub told_by: ToldBy,
    /// The claim that has the phone number of the user's device.
    pub phone_number_claim: Option<String>,
    /// The claim that has its network access identifier.
    pub nai_claim: Option<String>,
    /// Whose subscribers they are; if that is not said, the device tells.
    pub operator: Option<OperatorId>,
}

/// What tells that a token speaks for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToldBy {
    /// A `sub` that is not the client itself.
    #[default]
    Subject,
    /// A claim that is there.
    Claim(String),
    /// Nothing: none does, whatever `sub` they have.
    Nothing,
}

/// For whom a token speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) subject: Subject,
    /// What is known of the user's device.
    pub(super) device: Option<Device>,
    pub(super) operator: Option<OperatorId>,
}

impl Users {
    /// For whom a token speaks that was issued to this client; nobody, if only for the client.
    pub(super) fn of(
        &self,
        issuer: &Arc<str>,
        client: &str,
        claims: &Claims<'_>,
    ) -> Result<Option<User>, Reason> {
        let subject = match claims.text("sub")? {
            Some("") => return Err(Reason::Claims),
            subject => subject,
        };
        let three_legged = match &self.told_by {
            ToldBy::Subject => subject.is_some_and(|subject| subject != client),
            ToldBy::Claim(name) => claims.has(name),
            ToldBy::Nothing => false,
        };
        if !three_legged {
            return Ok(None);
        }
        let subject = subject.ok_or(Reason::Claims)?.into();
        let subject = Subject { issuer: Arc::clone(issuer), subject };
        Ok(Some(User { subject, device: self.device(claims)?, operator: self.operator.clone() }))
    }

    // What is there must be sound: a token that names another device than it means is worse than none.
    fn device(&self, claims: &Claims<'_>) -> Result<Option<Device>, Reason> {
        let text = |name: &Option<String>| match name {
            Some(name) => claims.text(name),
            None => Ok(None),
        };
        let number = text(&self.phone_number_claim)?.map(|text| {
            let digits = text.strip_prefix("tel:").unwrap_or(text);
            digits.parse::<PhoneNumber>().map(Written::plain).map_err(|_| Reason::Claims)
        });
        let nai =
            text(&self.nai_claim)?.map(|text| text.parse::<Nai>().map_err(|_| Reason::Claims));
        let device =
            Device { phone: number.transpose()?, nai: nai.transpose()?, ..Device::default() };
        Ok((!device.is_empty()).then_some(device))
    }
}
