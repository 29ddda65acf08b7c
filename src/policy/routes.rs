//! `routes.yaml`: maps devices to operators.

use std::{collections::HashMap, path::Path, sync::Arc};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod finders;
mod imports;

use self::{
    finders::ValidatedFinders,
    imports::{ImportEntry, ImportSources},
};
use super::{
    diagnostic::Diagnostic,
    scalars::{FilePath, Scalar, Section},
    source::YamlCursor,
    validation::Validation,
};
use crate::{
    finder, operator,
    qod::PhoneNumber,
    route::{
        CellPosition, Disagreement, Match, NamedOperator, NumberPrefix, Realm, Resolver, Route,
        Routes, Table, TableError, Target,
    },
};

/// The routes from devices to operators.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RoutesFile {
    /// The order of the resolvers.
    #[schemars(length(min = 1))]
    order: Option<Vec<Resolver>>,
    /// The decision if the identifiers of a device select different operators.
    disagreement: Disagreement,
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
        root: Validation<'_>,
        operators: &[operator::Settings],
    ) -> ValidatedRoutes {
        let other_sources = [self.tables.len(), self.imports.len(), self.finders.len()];
        if self.routes.is_empty() && other_sources.iter().all(|count| *count == 0) {
            let message =
                "no operator is reachable; expected `routes`, `tables`, `imports` or `finders`";
            root.key("routes").report(message);
        }
        let finders = ValidatedFinders::validate(self.finders, root.key("finders"));
        let mut rules = Vec::new();
        let mut lines: HashMap<Match, u64> = HashMap::new();
        for (at, entry) in root.key("routes").items(self.routes) {
            let Some(matching) = entry.matching() else {
                let message =
                    "expected exactly one of `number`, `number_prefix`, `network` and `realm`";
                at.report(message);
                continue;
            };
            if let Some(line) = lines.insert(matching.clone(), at.line()) {
                let message = format!("duplicate route; first defined in line {line}");
                at.report(message);
            }
            if let Some(target) = entry.target(&matching, &finders, at) {
                rules.push(Route { matching, target });
            }
        }
        let tables = root.key("tables").items(self.tables).filter_map(|(at, entry)| {
            let at = at.key("file");
            Some((at, at.check_file(&entry.file.0)?))
        });
        let tables: Vec<_> = tables.collect();
        let order =
            self.order.unwrap_or_else(|| vec![Resolver::Ip, Resolver::Realm, Resolver::Number]);
        for (index, resolver) in order.iter().enumerate() {
            if order.iter().take(index).any(|other| other == resolver) {
                root.key("order").item(index).report("duplicate resolver");
            }
        }
        let mut routes =
            Routes::new(rules, order, self.disagreement).with_fallback_finders(finders.fallbacks);
        let mut names = Vec::new();
        for (at, path) in tables {
            if let Some(table) = load_table(&path, at) {
                match routes.add(table) {
                    Ok(()) => names.push(path.display().to_string()),
                    Err((other, same)) => {
                        let other = other.and_then(|index| names.get(index));
                        at.report(describe_conflict(other.map(String::as_str), &same));
                    }
                }
            }
        }
        let sources = ImportSources { operators, telco_finders: &finders.telco_finders };
        let routes = imports::validate(self.imports, root.key("imports"), sources, routes, names);
        ValidatedRoutes { routes, lines: lines.into_iter().collect(), finders: finders.settings }
    }
}

fn load_table(path: &Path, at: Validation<'_>) -> Option<Arc<Table>> {
    match Table::open(path, at.references.tables) {
        Ok(table) => {
            for NamedOperator { operator, position } in table.operators() {
                if let Some(message) = at.references.describe_unknown_operator(&operator.0) {
                    let (file, position) = (path.to_owned(), *position);
                    report_table_error(TableError { file, position, message }, at);
                }
            }
            Some(table)
        }
        Err(errors) => {
            for error in errors {
                report_table_error(error, at);
            }
            None
        }
    }
}

/// Reports an error of a table. Without a line, the error is reported where the table is named.
fn report_table_error(error: TableError, at: Validation<'_>) {
    let TableError { file, position, message } = error;
    match position {
        Some(CellPosition { line, column }) => {
            at.report_elsewhere(Diagnostic { file, line, column, message });
        }
        None => at.report(format!("`{}`: {message}", file.display())),
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
        at: Validation<'_>,
    ) -> Option<Target> {
        match (&self.operator, &self.finder) {
            (Some(operator), None) => {
                at.key("operator").check_operator(operator);
                Some(Target::Operator(operator.as_str().into()))
            }
            (None, Some(finder)) => finders.target(finder, matching, at.key("finder")),
            // An invalid value has already been reported.
            (None, None) if at.keys().any(|key| matches!(key, "operator" | "finder")) => None,
            _ => {
                at.report("expected either `operator` or `finder`");
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
