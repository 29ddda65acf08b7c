//! An answer of the Telco Routing API: a JSON list of rules, each of which says of some prefixes whose
//! devices they are.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::Names;
use crate::{
    json::{Bounds, Json},
    qod::FinderId,
    route::{Match, NumberPrefix, Table, Target},
};

// All that a text of 16 MiB may well have in it.
const BOUNDS: Bounds = Bounds { depth_max: 16, members_max: 64, elements_max: 2_000_000 };
const PREFIXES_MAX: usize = 1_000_000;

const MATCHERS: [&str; 4] = ["ipv4", "ipv6", "msisdnPrefix", "network"];

// Who made so many faults made them all in the same way.
const FAULTS_MAX: usize = 20;

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", Place(pointer))]
pub struct RuleFault {
    /// Where: a JSON pointer (RFC 6901); empty for the whole text.
    pub pointer: String,
    /// What it is, and what was expected.
    pub message: String,
}

/// What is to be told of rules that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Prefixes of numbers and addresses in all.
    pub prefixes: usize,
    /// Those of them that had bits set behind their length.
    pub masked: usize,
    /// Those that stood there before, for another operator.
    pub twice: usize,
    /// Mobile networks that are named.
    pub networks: usize,
}

struct Place<'p>(&'p str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Reads an answer whole, or not at all.
///
/// # Errors
/// What is wrong with it; of many faults the first.
pub fn read(body: &[u8], names: &Names) -> Result<(Table, Told), Vec<RuleFault>> {
    let whole = |message: &str| vec![fault("", message)];
    let answer = Json::parse(body, &BOUNDS)
        .map_err(|not| vec![RuleFault { pointer: not.pointer, message: not.reason }])?;
    let Json::Array(rules) = &answer else { return Err(whole("expected a list of rules")) };
    let (mut reading, mut faults) = (Reading::default(), Vec::new());
    for (place, rule) in rules.iter().enumerate() {
        reading.rule(rule, &format!("/{place}"), names, &mut faults);
        if faults.len() >= FAULTS_MAX {
            break;
        }
        if reading.told.prefixes > PREFIXES_MAX {
            return Err(whole("it has more than a million prefixes"));
        }
    }
    faults.truncate(FAULTS_MAX);
    if faults.is_empty() { Ok(reading.done()) } else { Err(faults) }
}

#[derive(Default)]
struct Reading {
    routes: HashMap<Match, Target>,
    told: Told,
}

impl Reading {
    fn rule(&mut self, rule: &Json<'_>, at: &str, names: &Names, faults: &mut Vec<RuleFault>) {
        if !matches!(rule, Json::Object(_)) {
            faults.push(fault(at, "expected a rule"));
            return;
        }
        let sound = faults.len();
        let target = target_of(rule, at, names, faults);
        let (mut matches, mut told) = (Vec::new(), Told::default());
        let lists = MATCHERS.iter().filter_map(|name| Some((*name, rule.member(name)?)));
        let mut some = false;
        for (name, list) in lists {
            some = true;
            let at = format!("{at}/{name}");
            if list.elements().is_empty() {
                faults.push(fault(&at, "expected a list of strings"));
            }
            for (place, element) in list.elements().iter().enumerate() {
                let text = element.as_str().ok_or("expected a string");
                match text.and_then(|text| matching(name, text, &mut told)) {
                    Ok(matching) => matches.extend(matching),
                    Err(expected) => faults.push(fault(&format!("{at}/{place}"), expected)),
                }
            }
        }
        if !some {
            faults.push(fault(at, "expected `ipv4`, `ipv6`, `msisdnPrefix` or `network`"));
        }
        let Some(target) = target.filter(|_| faults.len() == sound) else { return };
        self.told.prefixes += matches.len();
        self.told.masked += told.masked;
        self.told.networks += told.networks;
        for matching in matches {
            // Of two for the very same devices the first is taken.
            match self.routes.entry(matching) {
                Entry::Occupied(other) => {
                    self.told.twice += usize::from(*other.get() != target);
                }
                Entry::Vacant(free) => _ = free.insert(target.clone()),
            }
        }
    }

    fn done(self) -> (Table, Told) {
        (Table::of(self.routes.into_iter()), self.told)
    }
}

/// Whose devices a rule's are, or who knows.
fn target_of(
    rule: &Json<'_>,
    at: &str,
    names: &Names,
    faults: &mut Vec<RuleFault>,
) -> Option<Target> {
    match (rule.member("static"), rule.member("dynamic")) {
        (Some(said), None) => {
            let text = |name: &str| said.member(name).and_then(Json::as_str);
            // It must be there, but nobody is called by what somebody else says.
            if text("apiRoot").is_none() {
                faults.push(fault(&format!("{at}/static"), "expected an `apiRoot`, a string"));
            }
            let Some(operator_id) = text("operatorId") else {
                faults.push(fault(&format!("{at}/static"), "expected an `operatorId`, a string"));
                return None;
            };
            let found = names.find(operator_id);
            let pointer = || format!("{at}/static/operatorId");
            let found = found.map_err(|message| faults.push(fault(&pointer(), message)));
            found.ok().cloned().map(Target::Operator)
        }
        (None, Some(said)) => {
            let found = dynamic(said, &format!("{at}/dynamic"), names);
            found.map_err(|fault| faults.push(fault)).ok().map(Target::Finder)
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.push(fault(at, "expected either `static` or `dynamic`"));
            None
        }
    }
}

/// Who serves such devices is to be asked of somebody: of those who are named in the policies only.
fn dynamic(said: &Json<'_>, at: &str, names: &Names) -> Result<FinderId, RuleFault> {
    let url = said.member("telcoFinder").and_then(Json::as_str);
    let url = url.ok_or_else(|| fault(at, "expected a `telcoFinder`, a URL"))?;
    let found = names.finder(url).cloned();
    found.map_err(|message| fault(&format!("{at}/telcoFinder"), message))
}

/// Which devices are meant; nothing, for a mobile network.
fn matching(name: &str, text: &str, told: &mut Told) -> Result<Option<Match>, &'static str> {
    match name {
        "ipv4" => {
            let net: Ipv4Net =
                text.parse().map_err(|_| "expected a network such as `198.51.100.0/24`")?;
            told.masked += usize::from(net.trunc() != net);
            Ok(Some(Match::Ipv4(net.trunc())))
        }
        "ipv6" => {
            let net: Ipv6Net =
                text.parse().map_err(|_| "expected a network such as `2001:db8::/32`")?;
            told.masked += usize::from(net.trunc() != net);
            Ok(Some(Match::Ipv6(net.trunc())))
        }
        "msisdnPrefix" => {
            let prefix: Result<NumberPrefix, _> = text.parse();
            let prefix = prefix.map_err(|_| "expected `+` and 1 to 15 digits, the first not 0")?;
            Ok(Some(Match::NumberPrefix(prefix)))
        }
        _ => {
            let digits = matches!(text.len(), 5 | 6) && text.bytes().all(|b| b.is_ascii_digit());
            told.networks += 1;
            digits.then_some(None).ok_or("expected a network's MCC and MNC, 5 or 6 digits")
        }
    }
}

fn fault(pointer: &str, message: &str) -> RuleFault {
    RuleFault { pointer: pointer.to_owned(), message: message.to_owned() }
}
