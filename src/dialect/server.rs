//! Application servers: parses them from bodies and serializes them, in the form that the release
//! defines.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::{address, cursor::BodyCursor, descriptor::ServerForm, validation::ValidationErrors};
use crate::qod::{ApplicationServer, ProblemKind, Verbatim};

/// The member with a list of server addresses, from 1.2 on.
pub(super) const SERVER_LIST_FIELD: &str = "ipAddresses";

const SERVERS_MAX: usize = 16;

/// An application server, as serialized.
pub(super) struct ServerBody<'a> {
    server: &'a ApplicationServer,
    form: ServerForm,
}

/// Parses an application server. Rejects all members except those of its form, because an ignored
/// server would mean any server.
pub(super) fn read(
    cursor: &BodyCursor<'_>,
    form: ServerForm,
    errors: &mut ValidationErrors,
) -> Option<ApplicationServer> {
    let names = match form {
        ServerForm::Ipv4 => {
            let ipv4 = address::ipv4_net(cursor, errors)?;
            return Some(ApplicationServer::Subnets { ipv4: Some(ipv4), ipv6: None });
        }
        ServerForm::Subnets(names) => names,
        ServerForm::SubnetsOrList(names) => match cursor.member(SERVER_LIST_FIELD) {
            Some(list) => {
                cursor.allow_only(&[SERVER_LIST_FIELD], errors);
                return Some(ApplicationServer::Addresses(read_addresses(&list, errors)));
            }
            None => names,
        },
    };
    cursor.allow_only(&names, errors);
    cursor.require_any_of(&names, errors);
    let [v4, v6] = names;
    let ipv4 = cursor.member(v4).and_then(|address| address::ipv4_net(&address, errors));
    let ipv6 = cursor.member(v6).and_then(|address| address::ipv6_net(&address, errors));
    let server = ApplicationServer::Subnets { ipv4, ipv6 };
    (ipv4.is_some() || ipv6.is_some()).then_some(server)
}

// Rejects duplicates by value, regardless of notation.
fn read_addresses(list: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Vec<Verbatim<IpAddr>> {
    let mut addresses: Vec<Verbatim<IpAddr>> = Vec::new();
    for element in list.elements(errors).take(SERVERS_MAX + 1) {
        let Some(address) = address::ip(&element, errors) else { continue };
        if addresses.iter().any(|other| other.value == address.value) {
            let expected = "expected a list without duplicate addresses";
            errors.add_semantic(list.pointer, ProblemKind::InvalidArgument, expected);
        }
        addresses.push(address);
    }
    if addresses.len() > SERVERS_MAX {
        errors.add_structural(
            list.pointer,
            format!("expected a list of at most {SERVERS_MAX} elements"),
        );
    }
    addresses
}

/// The texts of a server's IPv4 and IPv6 networks. For a list of addresses, these are the first
/// address of each family; only clients get this form, because `translate` turns the list into
/// networks for operators or rejects it.
pub(super) fn subnet_texts(server: &ApplicationServer) -> [Option<String>; 2] {
    match server {
        ApplicationServer::Subnets { ipv4, ipv6 } => {
            [ipv4.as_ref().map(Verbatim::text), ipv6.as_ref().map(Verbatim::text)]
        }
        ApplicationServer::Addresses(list) => {
            let first = |v4| list.iter().find(|address| address.value.is_ipv4() == v4);
            [first(true), first(false)].map(|address| address.map(Verbatim::text))
        }
    }
}

impl<'a> ServerBody<'a> {
    /// Returns `None` if the form cannot represent any part of the server.
    pub(super) fn new(server: &'a ApplicationServer, form: ServerForm) -> Option<Self> {
        let is_present = form != ServerForm::Ipv4 || subnet_texts(server)[0].is_some();
        is_present.then_some(Self { server, form })
    }
}

impl Serialize for ServerBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.server, self.form) {
            (server, ServerForm::Ipv4) => subnet_texts(server)[0].serialize(serializer),
            (ApplicationServer::Addresses(list), ServerForm::SubnetsOrList(_)) => {
                let texts: Vec<_> = list.iter().map(Verbatim::text).collect();
                serializer.collect_map((!texts.is_empty()).then_some((SERVER_LIST_FIELD, texts)))
            }
            (server, ServerForm::Subnets(names) | ServerForm::SubnetsOrList(names)) => {
                let members = names.into_iter().zip(subnet_texts(server));
                serializer.collect_map(members.filter_map(|(name, text)| Some((name, text?))))
            }
        }
    }
}
