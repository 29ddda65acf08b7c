//! `routes.yaml`: which operator serves which device.

use std::{collections::HashMap, path::Path, sync::Arc};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod finders;
mod imports;

use self::{finders::Finders, imports::ImportEntry};
use super::{
    fault::Fault,
    known::Known,
    settings::OperatorSettings,
    source::Spot,
    words::{FilePath, Part, Said},
};
use crate::{
    finder,
    qod::PhoneNumber,
    route::{self, Match, NumberPrefix, Realm, Routes, Rule, Table, TableFault, Target},
};

/// Routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// What is asked first.
    #[schemars(length(min = 1))]
    order: Option<Vec<Resolver>>,
    /// What to do if identifiers name different operators.
    disagreement: Disagreement,
    /// Who is asked when no route knows the device, in this order.
    #[schemars(length(max = 8))]
    finders: Vec<Part<finders::Entry>>,
    /// Files with more routes.
    #[schemars(length(max = 16))]
    tables: Vec<Part<TableEntry>>,
    /// What operators tell of themselves, by GSMA's Telco Routing API.
    #[schemars(length(max = 16))]
    imports: Vec<Part<ImportEntry>>,
    /// The routes, in any order.
    routes: Vec<Part<Entry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    /// CSV, or what `qod-gateway compile-routes` made of it.
    file: Said<FilePath>,
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
    operator: Option<String>,
    /// Or who is asked that.
    finder: Option<String>,
}

/// What the file says.
pub(super) struct Judged {
    pub(super) routes: Routes,
    /// The line of each route.
    pub(super) lines: Vec<(Match, u64)>,
    pub(super) finders: Vec<finder::Settings>,
}

impl File {
    /// The routes, each with its place, of a file that is sound.
    pub(super) fn placed(self, root: Spot<'_>) -> impl Iterator<Item = (Rule, Spot<'_>)> {
        let at = root.key("routes");
        self.routes.into_iter().enumerate().filter_map(move |(index, entry)| {
            let entry = entry.read().ok()?;
            let matching = entry.matching()?;
            let target = match (&entry.operator, &entry.finder) {
                (Some(operator), _) => Target::Operator(operator.as_str().into()),
                (None, finder) => Target::Finder(finder.as_deref()?.into()),
            };
            Some((Rule { matching, target }, at.item(index)))
        })
    }

    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        operators: &[OperatorSettings],
        faults: &mut Vec<Fault>,
    ) -> Judged {
        let others = [self.tables.len(), self.imports.len(), self.finders.len()];
        if self.routes.is_empty() && others.iter().all(|count| *count == 0) {
            let message =
                "nothing leads to an operator: expected `routes`, `tables`, `imports` or `finders`";
            faults.push(root.key("routes").fault(message));
        }
        let finders = Finders::judge(self.finders, root.key("finders"), known, faults);
        let mut rules = Vec::new();
        let mut lines: HashMap<Match, u64> = HashMap::new();
        for (index, entry) in self.routes.into_iter().enumerate() {
            let at = root.key("routes").item(index);
            let Some(entry) = at.read(entry, faults) else { continue };
            let Some(matching) = entry.matching() else {
                let message = "expected one of `number`, `number_prefix`, `network` and `realm`, and only one";
                faults.push(at.fault(message));
                continue;
            };
            if let Some(line) = lines.insert(matching.clone(), at.line()) {
                let message = format!("line {line} has a route for the very same devices");
                faults.push(at.fault(message));
            }
            if let Some(target) = entry.target(&matching, &finders, at, known, faults) {
                rules.push(Rule { matching, target });
            }
        }
        let tables = self.tables.into_iter().enumerate().filter_map(|(index, entry)| {
            let at = root.key("tables").item(index);
            let entry = at.read(entry, faults)?;
            Some((at.key("file"), known.file(&entry.file.0, at.key("file"), faults)?))
        });
        let tables: Vec<_> = tables.collect();
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
        let mut routes = Routes::new(rules, order, disagreement).asking(finders.last);
        let mut names = Vec::new();
        for (at, path) in tables {
            if let Some(table) = table_of(&path, at, known, faults) {
                match routes.add(table) {
                    Ok(()) => names.push(path.display().to_string()),
                    Err((other, same)) => {
                        let other = other.and_then(|other| names.get(other));
                        faults.push(at.fault(contradiction(other.map(String::as_str), &same)));
                    }
                }
            }
        }
        let at = (root.key("imports"), known);
        let routes =
            imports::judge(self.imports, at, (operators, &finders.telco), (routes, names), faults);
        Judged { routes, lines: lines.into_iter().collect(), finders: finders.settings }
    }
}

fn table_of(
    path: &Path,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Arc<Table>> {
    match Table::open(path, known.tables) {
        Ok(table) => {
            let unknown = table.operators().iter().filter_map(|mention| {
                let message = known.operator_fault(&mention.operator.0)?;
                let fault = TableFault { file: path.to_owned(), at: mention.at, message };
                Some(table_fault(fault, at))
            });
            faults.extend(unknown);
            Some(table)
        }
        Err(wrong) => {
            faults.extend(wrong.into_iter().map(|fault| table_fault(fault, at)));
            None
        }
    }
}

/// Where the file's own line is not known, the one that names it.
fn table_fault(fault: TableFault, at: Spot<'_>) -> Fault {
    let TableFault { file, at: place, message } = fault;
    match place {
        Some((line, column)) => Fault { file, line, column, message },
        None => at.fault(format!("`{}`: {message}", file.display())),
    }
}

/// Both here and there the same devices are told, but another operator. A number is not told in full.
fn contradiction(other: Option<&str>, same: &Match) -> String {
    let there = other.map_or_else(|| "`routes`".to_owned(), |path| format!("`{path}`"));
    let devices = match same {
        Match::Number(number) => format!("number {number:?}"),
        Match::NumberPrefix(prefix) => format!("number prefix {prefix}"),
        Match::Ipv4(net) => format!("network {net}"),
        Match::Ipv6(net) => format!("network {net}"),
        Match::Realm(_) => "realm".to_owned(),
    };
    format!("{there} has another operator for the same {devices}")
}

impl Entry {
    fn target(
        &self,
        matching: &Match,
        finders: &Finders,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Target> {
        match (&self.operator, &self.finder) {
            (Some(operator), None) => {
                known.operator(operator, at.key("operator"), faults);
                Some(Target::Operator(operator.as_str().into()))
            }
            (None, Some(finder)) => finders.target(finder, matching, at.key("finder"), faults),
            // One of no sound value has been told.
            (None, None) if at.keys().any(|key| matches!(key, "operator" | "finder")) => None,
            _ => {
                faults.push(at.fault("expected either `operator` or `finder`"));
                None
            }
        }
    }

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
