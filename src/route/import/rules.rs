//! Parses a response of the Telco Routing API: a JSON array of rules, each of which assigns
//! prefixes to an operator or a finder.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::ImportNames;
use crate::{
    json::{Json, JsonLimits},
    qod::FinderId,
    route::{Match, NumberPrefix, Table, Target},
};

// The limits of a plausible document of 16 MiB.
const BOUNDS: JsonLimits = JsonLimits { depth_max: 16, members_max: 64, elements_max: 2_000_000 };
const PREFIXES_MAX: usize = 1_000_000;

const MATCHERS: [&str; 4] = ["ipv4", "ipv6", "msisdnPrefix", "network"];

// More errors than this usually have the same cause.
const ERRORS_MAX: usize = 20;

/// An error in a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", PointerDisplay(pointer))]
pub struct RuleError {
    /// The position: a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// Counts of the imported rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Number prefixes and networks in total.
    pub prefixes: usize,
    /// Networks with host bits set, which are ignored.
    pub masked: usize,
    /// Prefixes already assigned to another operator, which takes precedence.
    pub duplicates: usize,
    /// Mobile networks, which are ignored.
    pub networks: usize,
}

struct PointerDisplay<'p>(&'p str);

impl fmt::Display for PointerDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Parses a document. It is accepted as a whole or not at all.
///
/// # Errors
/// The errors in the document; if there are many, only the first ones.
pub fn parse_rules(
    body: &[u8],
    names: &ImportNames,
) -> Result<(Table, ImportReport), Vec<RuleError>> {
    let document_error = |message: &str| vec![rule_error("", message)];
    let document = Json::parse(body, &BOUNDS)
        .map_err(|error| vec![RuleError { pointer: error.pointer, message: error.reason }])?;
    let Json::Array(rules) = &document else {
        return Err(document_error("expected an array of rules"));
    };
    let (mut parser, mut errors) = (RuleParser::default(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        parser.parse_rule(rule, &format!("/{index}"), names, &mut errors);
        if errors.len() >= ERRORS_MAX {
            break;
        }
        if parser.report.prefixes > PREFIXES_MAX {
            return Err(document_error("expected at most a million prefixes"));
        }
    }
    errors.truncate(ERRORS_MAX);
    if errors.is_empty() { Ok(parser.finish()) } else { Err(errors) }
}

#[derive(Default)]
struct RuleParser {
    routes: HashMap<Match, Target>,
    report: ImportReport,
}

impl RuleParser {
    fn parse_rule(
        &mut self,
        rule: &Json<'_>,
        at: &str,
        names: &ImportNames,
        errors: &mut Vec<RuleError>,
    ) {
        if !matches!(rule, Json::Object(_)) {
            errors.push(rule_error(at, "expected a rule"));
            return;
        }
        let errors_before = errors.len();
        let target = parse_target(rule, at, names, errors);
        let (mut matches, mut report) = (Vec::new(), ImportReport::default());
        let lists = MATCHERS.iter().filter_map(|name| Some((*name, rule.member(name)?)));
        let mut has_matcher = false;
        for (name, list) in lists {
            has_matcher = true;
            let at = format!("{at}/{name}");
            if list.elements().is_empty() {
                errors.push(rule_error(&at, "expected a non-empty array of strings"));
            }
            for (index, element) in list.elements().iter().enumerate() {
                let text = element.as_str().ok_or("expected a string");
                match text.and_then(|text| parse_match(name, text, &mut report)) {
                    Ok(matching) => matches.extend(matching),
                    Err(expected) => errors.push(rule_error(&format!("{at}/{index}"), expected)),
                }
            }
        }
        if !has_matcher {
            errors.push(rule_error(at, "expected `ipv4`, `ipv6`, `msisdnPrefix` or `network`"));
        }
        let Some(target) = target.filter(|_| errors.len() == errors_before) else { return };
        self.report.prefixes += matches.len();
        self.report.masked += report.masked;
        self.report.networks += report.networks;
        for matching in matches {
            // Of two rules for the same devices the first applies.
            match self.routes.entry(matching) {
                Entry::Occupied(other) => {
                    self.report.duplicates += usize::from(*other.get() != target);
                }
                Entry::Vacant(entry) => _ = entry.insert(target.clone()),
            }
        }
    }

    fn finish(self) -> (Table, ImportReport) {
        (Table::from_routes(self.routes.into_iter()), self.report)
    }
}

/// The operator of a rule, or the finder that knows the operator.
fn parse_target(
    rule: &Json<'_>,
    at: &str,
    names: &ImportNames,
    errors: &mut Vec<RuleError>,
) -> Option<Target> {
    match (rule.member("static"), rule.member("dynamic")) {
        (Some(operator), None) => {
            let text = |name: &str| operator.member(name).and_then(Json::as_str);
            // The API requires it, but the gateway does not call URLs from imports.
            if text("apiRoot").is_none() {
                errors.push(rule_error(&format!("{at}/static"), "expected `apiRoot`, a string"));
            }
            let Some(operator_id) = text("operatorId") else {
                errors.push(rule_error(&format!("{at}/static"), "expected `operatorId`, a string"));
                return None;
            };
            let found = names.find(operator_id);
            let pointer = || format!("{at}/static/operatorId");
            let found = found.map_err(|message| errors.push(rule_error(&pointer(), message)));
            found.ok().cloned().map(Target::Operator)
        }
        (None, Some(finder)) => {
            let found = parse_finder(finder, &format!("{at}/dynamic"), names);
            found.map_err(|error| errors.push(error)).ok().map(Target::Finder)
        }
        (Some(_), Some(_)) | (None, None) => {
            errors.push(rule_error(at, "expected either `static` or `dynamic`"));
            None
        }
    }
}

/// The finder of a dynamic rule. It must be one of the policies.
fn parse_finder(finder: &Json<'_>, at: &str, names: &ImportNames) -> Result<FinderId, RuleError> {
    let url = finder.member("telcoFinder").and_then(Json::as_str);
    let url = url.ok_or_else(|| rule_error(at, "expected `telcoFinder`, a URL"))?;
    let found = names.finder(url).cloned();
    found.map_err(|message| rule_error(&format!("{at}/telcoFinder"), message))
}

/// The devices that a prefix matches; `None` for a mobile network.
fn parse_match(
    name: &str,
    text: &str,
    report: &mut ImportReport,
) -> Result<Option<Match>, &'static str> {
    match name {
        "ipv4" => {
            let net: Ipv4Net =
                text.parse().map_err(|_| "expected a network such as `198.51.100.0/24`")?;
            report.masked += usize::from(net.trunc() != net);
            Ok(Some(Match::Ipv4(net.trunc())))
        }
        "ipv6" => {
            let net: Ipv6Net =
                text.parse().map_err(|_| "expected a network such as `2001:db8::/32`")?;
            report.masked += usize::from(net.trunc() != net);
            Ok(Some(Match::Ipv6(net.trunc())))
        }
        "msisdnPrefix" => {
            let prefix: Result<NumberPrefix, _> = text.parse();
            let prefix = prefix.map_err(|_| "expected `+` and 1 to 15 digits, the first not 0")?;
            Ok(Some(Match::NumberPrefix(prefix)))
        }
        _ => {
            let digits = matches!(text.len(), 5 | 6) && text.bytes().all(|b| b.is_ascii_digit());
            report.networks += 1;
            digits
                .then_some(None)
                .ok_or("expected the MCC and MNC of a mobile network, 5 or 6 digits")
        }
    }
}

fn rule_error(pointer: &str, message: &str) -> RuleError {
    RuleError { pointer: pointer.to_owned(), message: message.to_owned() }
}
