//! What can be asked of the policies without a request: by somebody who explains them, or tests them.

use std::net::IpAddr;

use crate::qod::{ClientId, Device, NotAnIdentifier};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub client: ClientId,
    /// What it speaks, by the dialect's name.
    pub dialect: String,
    /// What it asks for.
    pub about: About,
    /// Where it calls from, if that matters.
    pub from: Option<IpAddr>,
    /// May it take its time, and read tables of routes again for the lines that decide?
    pub reads_tables: bool,
}

/// A create, or a device alone.
#[derive(Clone, Debug)]
pub enum About {
    /// The body of a create, as the client would send it.
    Create(Vec<u8>),
    /// Only where this device leads.
    Device(Box<Device>),
}

impl About {
    /// A device by one of its names: a number with its `+`, an address, or a network access identifier.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn device(name: &str) -> Result<Self, NotAnIdentifier> {
        name.parse().map(Box::new).map(Self::Device)
    }
}
