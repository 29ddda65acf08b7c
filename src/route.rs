//! Finds the operator that serves a device by its identifiers, or the finders that must be asked.

use std::fmt;
use std::sync::Arc;

use crate::qod::{Device, FinderId, IdentifierKind, OperatorId, PhoneNumber};

mod addresses;
mod comparison;
mod lookup_request;
pub mod import;
mod numbers;
mod realms;
mod table;

use ipnet::{Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(any(fuzzing, test))]
pub(crate) use self::table::fuzz::{check_compiled_table, check_csv_table};
use self::{
    addresses::Addresses,
    import::{ImportPollers, ImportSnapshot},
    realms::Realms,
};
pub use self::{
    comparison::{MovedDevices, TableSize},
    lookup_request::{FallbackFinder, LookupRequest},
    numbers::NumberPrefix,
    realms::Realm,
    table::{CellPosition, CompileSummary, NamedOperator, Table, TableError, compile},
};

/// All routes: those of the policies, of table files and of imports. A lookup does not allocate.
#[derive(Debug)]
pub struct Routes {
    policy_table: Table,
    // Shared with the previous snapshot if the file is unchanged.
    tables: Vec<Arc<Table>>,
    // Imported from files in the format of the Telco Routing API.
    imports: Vec<Arc<Table>>,
    // Polled periodically.
    pollers: ImportPollers,
    realms: Realms,
    order: Vec<Resolver>,
    disagreement: Disagreement,
    fallback_finders: Vec<FallbackFinder>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The devices that the route matches.
    pub matching: Match,
    /// The target of the route.
    pub target: Target,
}

/// The target of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The operator that serves the devices.
    Operator(OperatorId),
    /// The finder that knows the operator of each device.
    Finder(FinderId),
}

/// The devices that a route matches. Of each kind, the most specific route applies, in any
/// position; of two for the same devices, the later one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The device with this number, for example a ported one. It takes precedence over every
    /// prefix.
    Number(PhoneNumber),
    /// The devices whose number has this prefix.
    NumberPrefix(NumberPrefix),
    /// The devices whose IPv4 address is in this network.
    Ipv4(Ipv4Net),
    /// The devices whose IPv6 address is in this network.
    Ipv6(Ipv6Net),
    /// The devices whose network access identifier or external id has this realm or a subdomain of
    /// it.
    Realm(Realm),
}

impl Match {
    /// Does an identifier of this device match?
    pub fn matches(&self, device: &Device) -> bool {
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        match self {
            Self::Number(number) => phone.as_ref().is_some_and(|phone| phone.value == *number),
            Self::NumberPrefix(prefix) => {
                phone.as_ref().is_some_and(|phone| prefix.matches(phone.value))
            }
            Self::Ipv4(net) => ipv4.as_ref().is_some_and(|ipv4| net.contains(&ipv4_net(ipv4))),
            Self::Ipv6(net) => ipv6.as_ref().is_some_and(|ipv6| net.contains(&ipv6.value.trunc())),
            Self::Realm(realm) => {
                let names = [nai.as_ref(), external_id.as_ref()];
                let mut realms = names.into_iter().flatten().filter_map(|name| name.realm());
                realms.any(|name| realm.matches(name))
            }
        }
    }

    /// The specificity. Of two routes of a kind that match a device, the one with the higher value
    /// applies.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Number(_) => usize::MAX,
            Self::NumberPrefix(prefix) => prefix.digit_count(),
            Self::Ipv4(net) => net.prefix_len().into(),
            Self::Ipv6(net) => net.prefix_len().into(),
            Self::Realm(realm) => realm.byte_count(),
        }
    }
}

/// In the notation of the policies.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "number {number}"),
            Self::NumberPrefix(prefix) => write!(f, "number_prefix {prefix}"),
            Self::Ipv4(net) => write!(f, "network {net}"),
            Self::Ipv6(net) => write!(f, "network {net}"),
            Self::Realm(realm) => write!(f, "realm {realm}"),
        }
    }
}

/// The name of the operator or finder.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(operator) => operator.fmt(f),
            Self::Finder(finder) => finder.fmt(f),
        }
    }
}

/// A kind of identifier by which an operator is found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolver {
    /// The IPv4 address, then the IPv6 address.
    Ip,
    /// The realm of the network access identifier, then of the external id.
    Realm,
    /// The phone number.
    Number,
}

/// The reaction to identifiers of a device that name different operators. CAMARA's Commonalities
/// forbid an error, so `First` is the default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disagreement {
    /// Use the first operator, in the order of the resolvers.
    #[default]
    First,
    /// Reject the request.
    Refuse,
}

/// How the operator of a device is determined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A route names the operator.
    Operator(ResolvedOperator),
    /// A finder must be asked.
    AskFinders(LookupRequest),
}

/// The operator that serves a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedOperator {
    /// The operator.
    pub operator: OperatorId,
    /// The identifier that it was found by.
    pub matched_by: IdentifierKind,
    /// Does another identifier name another operator?
    pub disagree: bool,
}

/// Why no operator was found for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOperator {
    /// No route matches.
    #[error("no operator serves this device")]
    NoRoute,
    /// No route or finder looks up any of the device's kinds of identifier.
    #[error("operators are not looked up by any of the device's identifiers")]
    UnsupportedIdentifiers,
    /// No known route matches, and not all imports have been loaded yet.
    #[error("the operator of this device is not known yet")]
    RoutesIncomplete,
    /// The identifiers name different operators, or a network belongs to more than one operator.
    #[error("the device's identifiers name more than one operator")]
    Disagreement,
}

/// The result of the lookup of one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup<'a> {
    Operator(&'a OperatorId),
    Finder(&'a FinderId),
    Nothing,
    // A network that belongs to more than one operator, or only in part to one.
    Split,
}

impl Resolver {
    /// The default order: the most reliable identifier first. Numbers come last, because they are
    /// ported.
    #[cfg(test)]
    pub const DEFAULT_ORDER: [Self; 3] = [Self::Ip, Self::Realm, Self::Number];

    const fn kinds(self) -> &'static [IdentifierKind] {
        match self {
            Self::Ip => &[IdentifierKind::Ipv4Address, IdentifierKind::Ipv6Address],
            Self::Realm => &[IdentifierKind::NetworkAccessIdentifier, IdentifierKind::ExternalId],
            Self::Number => &[IdentifierKind::PhoneNumber],
        }
    }
}

impl Routes {
    /// Creates routes from these rules. Identifiers of resolvers that are not in `order` are
    /// ignored.
    pub fn new(rules: Vec<Route>, order: Vec<Resolver>, disagreement: Disagreement) -> Self {
        let mut realms = Realms::default();
        let mut others = Vec::new();
        for Route { matching, target } in rules {
            match matching {
                Match::Realm(realm) => realms.insert(realm, target),
                other => others.push((other, target)),
            }
        }
        Self {
            policy_table: Table::from_routes(others.into_iter()),
            tables: Vec::new(),
            imports: Vec::new(),
            pollers: ImportPollers::default(),
            realms,
            order,
            disagreement,
            fallback_finders: Vec::new(),
        }
    }

    /// Adds a table. Of all routes the most specific applies, in any table.
    ///
    /// # Errors
    /// If the table contradicts an existing route: the match, and the index of the table that has
    /// it (`None` for the rules).
    pub fn add(&mut self, table: Arc<Table>) -> Result<(), (Option<usize>, Match)> {
        if let Some(conflict) = self.policy_table.find_conflict(&table) {
            return Err((None, conflict));
        }
        for (index, other) in self.tables.iter().enumerate() {
            if let Some(conflict) = other.find_conflict(&table) {
                return Err((Some(index), conflict));
            }
        }
        self.tables.push(table);
        Ok(())
    }

    /// Adds imported routes. For the same devices, existing routes take precedence. Returns the
    /// first conflict with each existing table, with the index of the table as in [`Routes::add`].
    pub fn import(&mut self, table: Arc<Table>) -> Vec<(Option<usize>, Match)> {
        let existing = std::iter::once((None, &self.policy_table));
        let tables = self.tables.iter().chain(&self.imports).enumerate();
        let existing = existing.chain(tables.map(|(index, other)| (Some(index), &**other)));
        let conflicts =
            existing.filter_map(|(index, other)| Some((index, other.find_conflict(&table)?)));
        let conflicts = conflicts.collect();
        self.imports.push(table);
        conflicts
    }

    /// The tables that were read from files: table files and imports.
    pub fn files(&self) -> impl Iterator<Item = &Table> + Clone {
        self.tables.iter().chain(&self.imports).map(|table| &**table)
    }

    /// The tables, for reuse in the next snapshot if their files are unchanged.
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    fn all(&self) -> impl Iterator<Item = &Table> + Clone {
        std::iter::once(&self.policy_table).chain(self.files())
    }

    /// Finds the operator that serves a device, or the finders to ask. If the device is a network,
    /// all of it must belong to one operator; otherwise it is rejected, whatever the policy.
    pub fn find(&self, device: &Device) -> Result<Resolution, NoOperator> {
        let polled = self.pollers.snapshot();
        let all = self.all().chain(polled.tables.iter().map(|table| &**table));
        let mut first: Option<(Lookup<'_>, IdentifierKind)> = None;
        let mut named: Option<&OperatorId> = None;
        let mut disagree = false;
        for kind in self.kinds() {
            let lookup = self.lookup_kind(all.clone(), device, kind);
            match lookup {
                Lookup::Nothing => continue,
                Lookup::Split => return Err(NoOperator::Disagreement),
                Lookup::Operator(operator) => {
                    disagree |= *named.get_or_insert(operator) != operator;
                }
                Lookup::Finder(_) => {}
            }
            first.get_or_insert((lookup, kind));
        }
        let finders = match first {
            Some((Lookup::Operator(operator), by)) => {
                let found =
                    ResolvedOperator { operator: operator.clone(), matched_by: by, disagree };
                return self.disagreement.admit(found).map(Resolution::Operator);
            }
            Some((Lookup::Finder(finder), by)) => vec![(finder.clone(), by)],
            Some((Lookup::Nothing | Lookup::Split, _)) | None => self.fallback_lookups(device),
        };
        if finders.is_empty() {
            return Err(
                if !self.kinds().any(|kind| device.has(kind) && self.looks_up(kind, &polled)) {
                    NoOperator::UnsupportedIdentifiers
                } else if polled.incomplete {
                    NoOperator::RoutesIncomplete
                } else {
                    NoOperator::NoRoute
                },
            );
        }
        let named = named.cloned();
        Ok(Resolution::AskFinders(LookupRequest {
            finders,
            named,
            disagree,
            disagreement: self.disagreement,
        }))
    }

    // The identifier kinds in lookup order.
    fn kinds(&self) -> impl Iterator<Item = IdentifierKind> {
        self.order.iter().flat_map(|resolver| resolver.kinds()).copied()
    }

    // Can any route or fallback finder name an operator by an identifier of this kind?
    fn looks_up(&self, kind: IdentifierKind, polled: &ImportSnapshot) -> bool {
        let mut tables = self.all().chain(polled.tables.iter().map(|table| &**table));
        let by_route = match kind {
            IdentifierKind::NetworkAccessIdentifier | IdentifierKind::ExternalId => {
                !self.realms.is_empty()
            }
            // Rules that are not loaded yet may have every kind of match except realms.
            IdentifierKind::Ipv4Address => {
                polled.incomplete || tables.any(|table| table.ipv4().len() > 0)
            }
            IdentifierKind::Ipv6Address => {
                polled.incomplete || tables.any(|table| table.ipv6().len() > 0)
            }
            IdentifierKind::PhoneNumber => polled.incomplete || tables.any(Table::has_numbers),
        };
        by_route || self.fallback_finders.iter().any(|fallback| fallback.looks_up(kind))
    }

    fn lookup_kind<'a>(
        &'a self,
        all: impl Iterator<Item = &'a Table> + Clone,
        device: &Device,
        kind: IdentifierKind,
    ) -> Lookup<'a> {
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        let found = match kind {
            IdentifierKind::Ipv4Address => {
                ipv4.as_ref().map(|ipv4| Addresses::find(&all.map(Table::ipv4), &ipv4_net(ipv4)))
            }
            IdentifierKind::Ipv6Address => ipv6
                .as_ref()
                .map(|ipv6| Addresses::find(&all.map(Table::ipv6), &ipv6.value.trunc())),
            IdentifierKind::NetworkAccessIdentifier => {
                nai.as_ref().and_then(|nai| nai.realm()).map(|realm| self.realms.find(realm))
            }
            IdentifierKind::ExternalId => {
                external_id.as_ref().and_then(|id| id.realm()).map(|realm| self.realms.find(realm))
            }
            IdentifierKind::PhoneNumber => {
                phone.as_ref().map(|phone| find_by_number(all, phone.value))
            }
        };
        found.unwrap_or(Lookup::Nothing)
    }
}

impl Routes {
    /// Is the identifier kind of this match looked up at all? Only resolvers in the configured
    /// order are.
    pub fn resolves(&self, matching: &Match) -> bool {
        let resolver = match matching {
            Match::Number(_) | Match::NumberPrefix(_) => Resolver::Number,
            Match::Ipv4(_) | Match::Ipv6(_) => Resolver::Ip,
            Match::Realm(_) => Resolver::Realm,
        };
        self.order.contains(&resolver)
    }

    /// Are numbers or networks, the keys of tables, looked up at all?
    pub fn resolves_tables(&self) -> bool {
        [Resolver::Ip, Resolver::Number].iter().any(|resolver| self.order.contains(resolver))
    }

    /// The target of the next wider route, which would apply to these devices without this route.
    pub fn wider(&self, matching: &Match) -> Option<&Target> {
        match matching {
            Match::Number(number) => find_by_prefix(self.all(), number.digits()),
            Match::NumberPrefix(prefix) => find_by_prefix(self.all(), prefix.digits() / 10),
            Match::Ipv4(net) => {
                Addresses::target_around(self.all().map(Table::ipv4), &net.supernet()?)
            }
            Match::Ipv6(net) => {
                Addresses::target_around(self.all().map(Table::ipv6), &net.supernet()?)
            }
            Match::Realm(realm) => self.realms.parent_target(realm),
        }
    }

    /// The prefixes and networks of a table whose next wider route has another target: the first
    /// one, and their number.
    pub fn overlaps(&self, table: &Table) -> Option<(Match, usize)> {
        let mut overlaps = table.prefixes_and_networks().filter(|(matching, target)| {
            self.wider(matching).is_some_and(|wider| wider != *target)
        });
        let (first, _) = overlaps.next()?;
        Some((first, 1 + overlaps.count()))
    }
}

fn find_by_number<'a>(
    all: impl Iterator<Item = &'a Table> + Clone,
    number: PhoneNumber,
) -> Lookup<'a> {
    let exact = all.clone().find_map(|table| table.find_number(number.digits()));
    exact.unwrap_or_else(|| find_by_prefix(all, number.digits()).into())
}

fn find_by_prefix<'a>(all: impl Iterator<Item = &'a Table>, digits: u64) -> Option<&'a Target> {
    let longest = all.filter_map(|table| table.find_prefix(digits));
    // Of two of the same length, that of the first table.
    let longest = longest.reduce(|one, other| if other.0 > one.0 { other } else { one });
    longest.map(|(_, target)| target)
}

fn ipv4_net(device: &crate::qod::DeviceIpv4) -> Ipv4Net {
    match device {
        crate::qod::DeviceIpv4::Public { public, .. } => Ipv4Net::from(*public),
        crate::qod::DeviceIpv4::Legacy(net) => net.value.trunc(),
    }
}

impl<'a> From<&'a Target> for Lookup<'a> {
    fn from(target: &'a Target) -> Self {
        match target {
            Target::Operator(operator) => Self::Operator(operator),
            Target::Finder(finder) => Self::Finder(finder),
        }
    }
}

impl<'a> From<Option<&'a Target>> for Lookup<'a> {
    fn from(found: Option<&'a Target>) -> Self {
        found.map_or(Self::Nothing, Self::from)
    }
}

impl Disagreement {
    fn admit(self, found: ResolvedOperator) -> Result<ResolvedOperator, NoOperator> {
        if found.disagree && self == Self::Refuse {
            return Err(NoOperator::Disagreement);
        }
        Ok(found)
    }
}

#[cfg(test)]
impl Resolution {
    /// The operator that a route names.
    pub(crate) fn operator(&self) -> &OperatorId {
        let Self::Operator(found) = self else { panic!("expected an operator, not a finder") };
        &found.operator
    }
}

#[cfg(test)]
mod tests;
