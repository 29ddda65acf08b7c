//! Which operator serves a device, by what the device is known by; or who is to be asked.

use std::fmt;
use std::sync::Arc;

use crate::qod::{Device, FinderId, IdentifierKind, OperatorId, PhoneNumber};

mod addresses;
mod ask;
pub mod import;
mod numbers;
mod realms;
mod table;

use ipnet::{Ipv4Net, Ipv6Net};

use self::{addresses::Addresses, import::Polled, realms::Realms};
pub use self::{
    ask::{Ask, LastResort},
    numbers::{NotANumberPrefix, NumberPrefix},
    realms::{NotARealm, Realm},
    table::{Compiled, Mention, Table, TableFault, compile},
};

/// All routes: those of the policies and those of tables. Looking a device up allocates nothing.
#[derive(Debug)]
pub struct Routes {
    own: Table,
    // Shared with the routes before, where a file is the same.
    tables: Vec<Arc<Table>>,
    // What operators tell of themselves.
    imports: Vec<Arc<Table>>,
    // And what they are asked for now and then.
    polled: Polled,
    realms: Realms,
    order: Vec<Resolver>,
    disagreement: Disagreement,
    last: Vec<LastResort>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which devices.
    pub matching: Match,
    /// Where they lead.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To the operator that serves its devices.
    Operator(OperatorId),
    /// To whoever knows which operator serves each of them.
    Finder(FinderId),
}

/// Which devices a route is for. The most specific route of a kind is taken, wherever it stands;
/// of two for the very same devices the later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The one of this number, as when it was ported: before every prefix.
    Number(PhoneNumber),
    /// Those whose number starts so.
    NumberPrefix(NumberPrefix),
    /// Those whose IPv4 address lies in it.
    Ipv4(Ipv4Net),
    /// Those whose IPv6 address lies in it.
    Ipv6(Ipv6Net),
    /// Those whose network access identifier or external id is of this realm, or one below it.
    Realm(Realm),
}

impl Match {
    /// Is an identifier of this device in it?
    pub fn is_of(&self, device: &Device) -> bool {
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        match self {
            Self::Number(number) => phone.as_ref().is_some_and(|phone| phone.value == *number),
            Self::NumberPrefix(prefix) => {
                phone.as_ref().is_some_and(|phone| prefix.is_of(phone.value))
            }
            Self::Ipv4(net) => ipv4.as_ref().is_some_and(|ipv4| net.contains(&ipv4_net(ipv4))),
            Self::Ipv6(net) => ipv6.as_ref().is_some_and(|ipv6| net.contains(&ipv6.value.trunc())),
            Self::Realm(realm) => {
                let names = [nai.as_ref(), external_id.as_ref()];
                let mut realms = names.into_iter().flatten().filter_map(|name| name.realm());
                realms.any(|name| realm.is_of(name))
            }
        }
    }

    /// Of two of a kind that are of the same device, that which is taken has more of this.
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

/// As it stands in the policies.
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

/// By its name.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(operator) => operator.fmt(f),
            Self::Finder(finder) => finder.fmt(f),
        }
    }
}

/// A way to find the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolver {
    /// By IPv4, then IPv6 address.
    Ip,
    /// By the realm of the network access identifier, then of the external id.
    Realm,
    /// By the phone number.
    Number,
}

/// What to do if a device's identifiers name different operators. CAMARA's Commonalities forbid
/// an error, so the first is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disagreement {
    /// Take the first, by the order of the resolvers.
    #[default]
    First,
    /// Take none.
    Refuse,
}

/// How to come to a device's operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A route leads there.
    Found(Found),
    /// Somebody else knows.
    Ask(Ask),
}

/// Who serves a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The operator.
    pub operator: OperatorId,
    /// What it was found by.
    pub by: IdentifierKind,
    /// Does another identifier name another operator?
    pub disagree: bool,
}

/// Why nobody serves a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOperator {
    /// No route matches.
    #[error("no operator serves this device")]
    NoRule,
    /// No route matches that is known, and not all are yet.
    #[error("which operator serves this device is not known yet")]
    NotYet,
    /// The identifiers name different operators, or a network is not wholly one operator's.
    #[error("the device's identifiers name more than one operator")]
    Disagreement,
}

/// What one identifier tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup<'a> {
    Operator(&'a OperatorId),
    Finder(&'a FinderId),
    Nothing,
    // A network with devices of more than one operator, or of none.
    Split,
}

impl Resolver {
    /// The default order: what is surest first, as numbers are ported.
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
    /// A table of these rules. A resolver that is not in `order` is never asked.
    pub fn new(rules: Vec<Rule>, order: Vec<Resolver>, disagreement: Disagreement) -> Self {
        let mut realms = Realms::default();
        let mut others = Vec::new();
        for Rule { matching, target } in rules {
            match matching {
                Match::Realm(realm) => realms.insert(realm, target),
                other => others.push((other, target)),
            }
        }
        Self {
            own: Table::of(others.into_iter()),
            tables: Vec::new(),
            imports: Vec::new(),
            polled: Polled::default(),
            realms,
            order,
            disagreement,
            last: Vec::new(),
        }
    }

    /// The same routes and those of a table. Of all the most specific is taken, wherever it stands.
    ///
    /// # Errors
    /// What is told of the same devices already, for another operator: by the rules (`None`) or by
    /// the table of that place.
    pub fn add(&mut self, table: Arc<Table>) -> Result<(), (Option<usize>, Match)> {
        if let Some(clash) = self.own.clash(&table) {
            return Err((None, clash));
        }
        for (place, other) in self.tables.iter().enumerate() {
            if let Some(clash) = other.clash(&table) {
                return Err((Some(place), clash));
            }
        }
        self.tables.push(table);
        Ok(())
    }

    /// The same routes and those that are imported. For the very same devices all that is there already
    /// goes before: the first such devices of each table, by its place as in [`Routes::add`].
    pub fn import(&mut self, table: Arc<Table>) -> Vec<(Option<usize>, Match)> {
        let before = std::iter::once((None, &self.own));
        let tables = self.tables.iter().chain(&self.imports).enumerate();
        let before = before.chain(tables.map(|(place, other)| (Some(place), &**other)));
        let clashes = before.filter_map(|(place, other)| Some((place, other.clash(&table)?)));
        let clashes = clashes.collect();
        self.imports.push(table);
        clashes
    }

    /// The files that routes were read from, beside the policies' own.
    pub fn files(&self) -> impl Iterator<Item = &Table> + Clone {
        self.tables.iter().chain(&self.imports).map(|table| &**table)
    }

    /// The tables, so that the next routes can have those whose files are the same.
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    fn all(&self) -> impl Iterator<Item = &Table> + Clone {
        std::iter::once(&self.own).chain(self.files())
    }

    /// How to come to the operator that serves a device. A device that is a whole network must be one
    /// operator's as a whole: it is refused otherwise, whatever the policy.
    pub fn find(&self, device: &Device) -> Result<Way, NoOperator> {
        let polled = self.polled.now();
        let all = self.all().chain(polled.tables.iter().map(|table| &**table));
        let mut first: Option<(Lookup<'_>, IdentifierKind)> = None;
        let mut named: Option<&OperatorId> = None;
        let mut disagree = false;
        for kind in self.kinds() {
            let led = self.look_up(all.clone(), device, kind);
            match led {
                Lookup::Nothing => continue,
                Lookup::Split => return Err(NoOperator::Disagreement),
                Lookup::Operator(operator) => {
                    disagree |= *named.get_or_insert(operator) != operator;
                }
                Lookup::Finder(_) => {}
            }
            first.get_or_insert((led, kind));
        }
        let asked = match first {
            Some((Lookup::Operator(operator), by)) => {
                let found = Found { operator: operator.clone(), by, disagree };
                return self.disagreement.admit(found).map(Way::Found);
            }
            Some((Lookup::Finder(finder), by)) => vec![(finder.clone(), by)],
            Some((Lookup::Nothing | Lookup::Split, _)) | None => self.last_resorts(device),
        };
        if asked.is_empty() {
            return Err(if polled.incomplete { NoOperator::NotYet } else { NoOperator::NoRule });
        }
        let named = named.cloned();
        Ok(Way::Ask(Ask { finders: asked, named, disagree, disagreement: self.disagreement }))
    }

    // In the order to look a device up by.
    fn kinds(&self) -> impl Iterator<Item = IdentifierKind> {
        self.order.iter().flat_map(|resolver| resolver.kinds()).copied()
    }

    fn look_up<'a>(
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
            IdentifierKind::PhoneNumber => phone.as_ref().map(|phone| by_number(all, phone.value)),
        };
        found.unwrap_or(Lookup::Nothing)
    }
}

impl Routes {
    /// Is it asked at all what a route is looked up by? Only what stands in the order is.
    pub fn asks(&self, matching: &Match) -> bool {
        let resolver = match matching {
            Match::Number(_) | Match::NumberPrefix(_) => Resolver::Number,
            Match::Ipv4(_) | Match::Ipv6(_) => Resolver::Ip,
            Match::Realm(_) => Resolver::Realm,
        };
        self.order.contains(&resolver)
    }

    /// Is it asked at all what tables have: numbers and networks?
    pub fn asks_tables(&self) -> bool {
        [Resolver::Ip, Resolver::Number].iter().any(|resolver| self.order.contains(resolver))
    }

    /// Where the devices of a route would lead without it: where the next wider one does.
    pub fn wider(&self, matching: &Match) -> Option<&Target> {
        match matching {
            Match::Number(number) => by_prefix(self.all(), number.digits()),
            Match::NumberPrefix(prefix) => by_prefix(self.all(), prefix.digits() / 10),
            Match::Ipv4(net) => Addresses::around(self.all().map(Table::ipv4), &net.supernet()?),
            Match::Ipv6(net) => Addresses::around(self.all().map(Table::ipv6), &net.supernet()?),
            Match::Realm(realm) => self.realms.above(realm),
        }
    }

    /// Prefixes and networks of a table's that the next wider route leads elsewhere: the first, and how
    /// many there are.
    pub fn overlaps_of(&self, table: &Table) -> Option<(Match, usize)> {
        let mut overlaps = table.wide().filter(|(matching, target)| {
            self.wider(matching).is_some_and(|wider| wider != *target)
        });
        let (first, _) = overlaps.next()?;
        Some((first, 1 + overlaps.count()))
    }
}

fn by_number<'a>(all: impl Iterator<Item = &'a Table> + Clone, number: PhoneNumber) -> Lookup<'a> {
    let whole = all.clone().find_map(|table| table.find_whole(number.digits()));
    whole.unwrap_or_else(|| by_prefix(all, number.digits()).into())
}

fn by_prefix<'a>(all: impl Iterator<Item = &'a Table>, digits: u64) -> Option<&'a Target> {
    let longest = all.filter_map(|table| table.find_prefix(digits));
    // Of two that are as long, the first table's.
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
    fn admit(self, found: Found) -> Result<Found, NoOperator> {
        if found.disagree && self == Self::Refuse {
            return Err(NoOperator::Disagreement);
        }
        Ok(found)
    }
}

#[cfg(test)]
impl Way {
    /// The operator that a route leads to.
    pub(crate) fn operator(&self) -> &OperatorId {
        let Self::Found(found) = self else { panic!("somebody is to be asked") };
        &found.operator
    }
}

#[cfg(test)]
mod tests;
