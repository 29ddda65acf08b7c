//! The input of `explain` and of policy tests: a hypothetical request.

use std::net::IpAddr;

use crate::qod::{ClientId, Device};

/// A hypothetical request whose handling is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainRequest {
    /// The client.
    pub client: ClientId,
    /// The name of the client's dialect.
    pub dialect: String,
    /// The subject of the request.
    pub subject: ExplainSubject,
    /// The source address of the request, if it matters.
    pub source_address: Option<IpAddr>,
    /// Whether route tables may be read again to find the lines that decide. This is slow.
    pub reads_tables: bool,
}

/// A create request, or a device only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainSubject {
    /// The body of a create request, as the client would send it.
    Create(Vec<u8>),
    /// Only the operator lookup of this device.
    Device(Box<Device>),
}

impl ExplainSubject {
    /// Parses a device identifier: a phone number with `+`, an IP address, or a network access identifier.
    ///
    /// # Errors
    /// Fails if the text is none of these identifiers, or a phone number without `+`.
    pub fn device(name: &str) -> Result<Self, String> {
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let written = name.replace([' ', '-', '(', ')', '/'], "");
        if is_number(&written) {
            let digits = written.trim_start_matches('0');
            let example = format!("+{digits}");
            return Err(
                ["a phone number begins with `+` and its country code: `", &example, "`?"].concat()
            );
        }
        let device = name.parse::<Device>().map_err(|error| error.to_string())?;
        Ok(Self::Device(Box::new(device)))
    }
}
