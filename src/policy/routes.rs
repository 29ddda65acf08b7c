//! `routes.yaml`: which operator serves which device.

use std::collections::HashMap;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::Fault,
    known::Known,
    source::Spot,
    words::{Part, Said},
};
use crate::{
    qod::PhoneNumber,
    route::{self, Match, NumberPrefix, Realm, Routes, Rule},
};

/// Routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["routes"]))]
pub(super) struct File {
    /// What is asked first.
    #[schemars(length(min = 1))]
    order: Option<Vec<Resolver>>,
    /// What to do if identifiers name different operators.
    disagreement: Disagreement,
    /// The routes, in any order.
    #[schemars(length(min = 1))]
    routes: Vec<Part<Entry>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Resolver {
    Ip,
    Realm,
    Number,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Disagreement {
    #[default]
    First,
    Refuse,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The device of this number.
    number: Option<Said<PhoneNumber>>,
    /// Devices whose number starts so.
    number_prefix: Option<Said<NumberPrefix>>,
    /// Devices whose address lies in it.
    network: Option<Said<IpNet>>,
    /// Devices of this domain or one below it.
    realm: Option<Said<Realm>>,
    /// Who serves them.
    operator: String,
}

impl File {
    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> (Routes, Vec<(Match, u64)>) {
        let mut rules = Vec::new();
        let mut lines: HashMap<Match, u64> = HashMap::new();
        for (index, entry) in self.routes.into_iter().enumerate() {
            let at = root.key("routes").item(index);
            let Some(entry) = at.read(entry, faults) else { continue };
            known.operator(&entry.operator, at.key("operator"), faults);
            let Some(matching) = entry.matching() else {
                let message = "expected one of `number`, `number_prefix`, `network` and `realm`, and only one";
                faults.push(at.fault(message));
                continue;
            };
            if let Some(line) = lines.insert(matching.clone(), at.line()) {
                let message = format!("line {line} has a route for the very same devices");
                faults.push(at.fault(message));
            }
            rules.push(Rule { matching, operator: entry.operator.as_str().into() });
        }
        let order =
            self.order.unwrap_or_else(|| vec![Resolver::Ip, Resolver::Realm, Resolver::Number]);
        for (index, resolver) in order.iter().enumerate() {
            if order.iter().take(index).any(|other| other == resolver) {
                faults.push(root.key("order").item(index).fault("it stands in the order already"));
            }
        }
        let order = order.into_iter().map(Resolver::setting).collect();
        let disagreement = match self.disagreement {
            Disagreement::First => route::Disagreement::First,
            Disagreement::Refuse => route::Disagreement::Refuse,
        };
        (Routes::new(rules, order, disagreement), lines.into_iter().collect())
    }
}

impl Entry {
    fn matching(&self) -> Option<Match> {
        match (&self.number, &self.number_prefix, &self.network, &self.realm) {
            (Some(number), None, None, None) => Some(Match::Number(number.0)),
            (None, Some(prefix), None, None) => Some(Match::NumberPrefix(prefix.0)),
            (None, None, Some(Said(IpNet::V4(net))), None) => Some(Match::Ipv4(*net)),
            (None, None, Some(Said(IpNet::V6(net))), None) => Some(Match::Ipv6(*net)),
            (None, None, None, Some(realm)) => Some(Match::Realm(realm.0.clone())),
            _ => None,
        }
    }
}

impl Resolver {
    const fn setting(self) -> route::Resolver {
        match self {
            Self::Ip => route::Resolver::Ip,
            Self::Realm => route::Resolver::Realm,
            Self::Number => route::Resolver::Number,
        }
    }
}
