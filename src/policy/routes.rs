//! `routes.yaml`: maps devices to operators.

use std::{collections::HashMap, path::Path, sync::Arc};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod finders;
mod imports;

use self::{finders::ValidatedFinders, imports::ImportEntry};
use super::{
    diagnostic::Diagnostic,
    references::References,
    scalars::{FilePath, Scalar, Section},
    settings::OperatorSettings,
    source::YamlCursor,
};
use crate::{
    finder,
    qod::PhoneNumber,
    route::{self, Match, NumberPrefix, Realm, Route, Routes, Table, TableError, Target},
};

/// The routes from devices to operators.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RoutesFile {
    /// The order of the resolvers.
    #[schemars(length(min = 1))]
    order: Option<Vec<ResolverName>>,
    /// The decision if the identifiers of a device select different operators.
    disagreement: DisagreementName,
    /// The finders that are queried in this order if no route matches.
    #[schemars(length(max = 8))]
    finders: Vec<Section<finders::FinderEntry>>,
    /// Files with additional routes.
    #[schemars(length(max = 16))]
    tables: Vec<Section<TableEntry>>,
    /// Rules that operators publish through the GSMA Telco Routing API.
    #[schemars(length(max = 16))]
    imports: Vec<Section<ImportEntry>>,
    /// The routes, in any order.
    routes: Vec<Section<RouteEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    /// A CSV file, or the output of `qod-gateway compile-routes`.
    file: Scalar<FilePath>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum ResolverName {
    Ip,
    Realm,
    Number,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DisagreementName {
    #[default]
    First,
    Refuse,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    /// Matches the device with this phone number.
    number: Option<Scalar<PhoneNumber>>,
    /// Matches devices whose phone number starts with this prefix.
    number_prefix: Option<Scalar<NumberPrefix>>,
    /// Matches devices whose IP address is in this network.
    network: Option<Scalar<IpNet>>,
    /// Matches devices whose network access identifier is in this domain or a subdomain.
    realm: Option<Scalar<Realm>>,
    /// The operator of the devices.
    operator: Option<String>,
    /// The finder to query for the operator, instead of an operator.
    finder: Option<String>,
}

/// The validated settings of the file.
pub(super) struct ValidatedRoutes {
    pub(super) routes: Routes,
    /// The line of each route.
    pub(super) lines: Vec<(Match, u64)>,
    pub(super) finders: Vec<finder::Settings>,
}

impl RoutesFile {
    /// Returns the routes of a valid file, each with its position.
    pub(super) fn rules_with_position(
        self,
        root: YamlCursor<'_>,
    ) -> impl Iterator<Item = (Route, YamlCursor<'_>)> {
        let at = root.key("routes");
        self.routes.into_iter().enumerate().filter_map(move |(index, entry)| {
            let entry = entry.into_result().ok()?;
            let matching = entry.matching()?;
            let target = match (&entry.operator, &entry.finder) {
                (Some(operator), _) => Target::Operator(operator.as_str().into()),
                (None, finder) => Target::Finder(finder.as_deref()?.into()),
            };
            Some((Route { matching, target }, at.item(index)))
        })
    }

    pub(super) fn validate(
        self,
        root: YamlCursor<'_>,
        references: &References<'_>,
        operators: &[OperatorSettings],
        errors: &mut Vec<Diagnostic>,
    ) -> ValidatedRoutes {
        let other_sources = [self.tables.len(), self.imports.len(), self.finders.len()];
        if self.routes.is_empty() && other_sources.iter().all(|count| *count == 0) {
            let message =
                "no operator is reachable; expected `routes`, `tables`, `imports` or `finders`";
            errors.push(root.key("routes").error(message));
        }
        let finders =
            ValidatedFinders::validate(self.finders, root.key("finders"), references, errors);
        let mut rules = Vec::new();
        let mut lines: HashMap<Match, u64> = HashMap::new();
        for (index, entry) in self.routes.into_iter().enumerate() {
            let at = root.key("routes").item(index);
            let Some(entry) = at.section(entry, errors) else { continue };
            let Some(matching) = entry.matching() else {
                let message =
                    "expected exactly one of `number`, `number_prefix`, `network` and `realm`";
                errors.push(at.error(message));
                continue;
            };
            if let Some(line) = lines.insert(matching.clone(), at.line()) {
                let message = format!("duplicate route; first defined in line {line}");
                errors.push(at.error(message));
            }
            if let Some(target) = entry.target(&matching, &finders, at, references, errors) {
                rules.push(Route { matching, target });
            }
        }
        let tables = self.tables.into_iter().enumerate().filter_map(|(index, entry)| {
            let at = root.key("tables").item(index);
            let entry = at.section(entry, errors)?;
            Some((at.key("file"), references.check_file(&entry.file.0, at.key("file"), errors)?))
        });
        let tables: Vec<_> = tables.collect();
        let order = self
            .order
            .unwrap_or_else(|| vec![ResolverName::Ip, ResolverName::Realm, ResolverName::Number]);
        for (index, resolver) in order.iter().enumerate() {
            if order.iter().take(index).any(|other| other == resolver) {
                errors.push(root.key("order").item(index).error("duplicate resolver"));
            }
        }
        let order = order.into_iter().map(ResolverName::setting).collect();
        let disagreement = match self.disagreement {
            DisagreementName::First => route::Disagreement::First,
            DisagreementName::Refuse => route::Disagreement::Refuse,
        };
        let mut routes =
            Routes::new(rules, order, disagreement).with_fallback_finders(finders.fallbacks);
        let mut names = Vec::new();
        for (at, path) in tables {
            if let Some(table) = load_table(&path, at, references, errors) {
                match routes.add(table) {
                    Ok(()) => names.push(path.display().to_string()),
                    Err((other, same)) => {
                        let other = other.and_then(|index| names.get(index));
                        errors.push(at.error(describe_conflict(other.map(String::as_str), &same)));
                    }
                }
            }
        }
        let at = (root.key("imports"), references);
        let routes = imports::validate(
            self.imports,
            at,
            (operators, &finders.telco_finders),
            (routes, names),
            errors,
        );
        ValidatedRoutes { routes, lines: lines.into_iter().collect(), finders: finders.settings }
    }
}

fn load_table(
    path: &Path,
    at: YamlCursor<'_>,
    references: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Arc<Table>> {
    match Table::open(path, references.tables) {
        Ok(table) => {
            let unknown_operators = table.operators().iter().filter_map(|mention| {
                let message = references.describe_unknown_operator(&mention.operator.0)?;
                let error =
                    TableError { file: path.to_owned(), position: mention.position, message };
                Some(table_error(error, at))
            });
            errors.extend(unknown_operators);
            Some(table)
        }
        Err(table_errors) => {
            errors.extend(table_errors.into_iter().map(|error| table_error(error, at)));
            None
        }
    }
}

/// Converts an error of a table. Without a line, the error is reported where the table is named.
fn table_error(error: TableError, at: YamlCursor<'_>) -> Diagnostic {
    let TableError { file, position, message } = error;
    match position {
        Some((line, column)) => Diagnostic { file, line, column, message },
        None => at.error(format!("`{}`: {message}", file.display())),
    }
}

/// Describes routes for the same devices with different operators. Phone numbers are masked.
fn describe_conflict(other: Option<&str>, same: &Match) -> String {
    let source = other.map_or_else(|| "`routes`".to_owned(), |path| format!("`{path}`"));
    let devices = match same {
        Match::Number(number) => format!("number {number:?}"),
        Match::NumberPrefix(prefix) => format!("number prefix {prefix}"),
        Match::Ipv4(net) => format!("network {net}"),
        Match::Ipv6(net) => format!("network {net}"),
        Match::Realm(_) => "realm".to_owned(),
    };
    format!("{source} has another operator for the same {devices}")
}

impl RouteEntry {
    fn target(
        &self,
        matching: &Match,
        finders: &ValidatedFinders,
        at: YamlCursor<'_>,
        references: &References<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Target> {
        match (&self.operator, &self.finder) {
            (Some(operator), None) => {
                references.check_operator(operator, at.key("operator"), errors);
                Some(Target::Operator(operator.as_str().into()))
            }
            (None, Some(finder)) => finders.target(finder, matching, at.key("finder"), errors),
            // An invalid value has already been reported.
            (None, None) if at.keys().any(|key| matches!(key, "operator" | "finder")) => None,
            _ => {
                errors.push(at.error("expected either `operator` or `finder`"));
                None
            }
        }
    }

    fn matching(&self) -> Option<Match> {
        match (&self.number, &self.number_prefix, &self.network, &self.realm) {
            (Some(number), None, None, None) => Some(Match::Number(number.0)),
            (None, Some(prefix), None, None) => Some(Match::NumberPrefix(prefix.0)),
            (None, None, Some(Scalar(IpNet::V4(net))), None) => Some(Match::Ipv4(*net)),
            (None, None, Some(Scalar(IpNet::V6(net))), None) => Some(Match::Ipv6(*net)),
            (None, None, None, Some(realm)) => Some(Match::Realm(realm.0.clone())),
            _ => None,
        }
    }
}

impl ResolverName {
    const fn setting(self) -> route::Resolver {
        match self {
            Self::Ip => route::Resolver::Ip,
            Self::Realm => route::Resolver::Realm,
            Self::Number => route::Resolver::Number,
        }
    }
}
