//! Certificates that are over, and secrets that everybody can read, in the files that policies name.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::{Rule, Seen, Warning};
use crate::{
    policy::{PolicyFile, source::Spot},
    qod::Moment,
    tls,
};

/// What there is in a file that policies name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// What we show: the certificate, then its chain.
    Certificate,
    /// Whom we believe.
    Authorities,
    Secret,
    /// What anybody may know, and that is never over.
    Public,
}

const SOON: Duration = Duration::from_hours(30 * 24);

/// What the file of a key holds; nothing, if the key is of no file.
fn holds(file: PolicyFile, key: &str) -> Option<Holds> {
    match (file, key) {
        (_, "certificate_file" | "client_certificate_file") => Some(Holds::Certificate),
        (_, "ca_file" | "client_ca_file" | "extra_ca_file") => Some(Holds::Authorities),
        (_, "jwks_file") | (PolicyFile::Clients, "proof_key_file") => Some(Holds::Public),
        (
            _,
            "key_file"
            | "old_key_files"
            | "client_key_file"
            | "bearer_token_file"
            | "client_secret_file"
            | "private_key_file"
            | "x_authorization_file"
            | "proof_key_file"
            | "value_file",
        ) => Some(Holds::Secret),
        _ => None,
    }
}

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    walk(seen, PolicyFile::Gateway, seen.gateway.root(), told);
    walk(seen, PolicyFile::Clients, seen.clients.root(), told);
    walk(seen, PolicyFile::Routes, seen.routes.root(), told);
    for (_, operator) in seen.operators.root().key("operators").entries() {
        let before = told.len();
        walk(seen, PolicyFile::Operators, operator, told);
        // Whoever reads what a simulated one is shown has what anybody may have.
        if operator.key("simulated").is_true() {
            let own = told.split_off(before).into_iter();
            told.extend(own.filter(|warning| warning.rule != Rule::SecretReadable));
        }
    }
}

fn walk(seen: &Seen<'_>, file: PolicyFile, at: Spot<'_>, told: &mut Vec<Warning>) {
    for (key, at) in at.entries() {
        let judge = match holds(file, key) {
            Some(Holds::Certificate) => judge_certificates,
            Some(Holds::Authorities) => judge_authorities,
            Some(Holds::Secret) => judge_secret,
            Some(Holds::Public) => continue,
            // Fields of a call may be called anything.
            None if key == "headers" => continue,
            None => {
                at.items().chain([at]).for_each(|at| walk(seen, file, at, told));
                continue;
            }
        };
        for (at, path) in
            std::iter::once(at).chain(at.items()).filter_map(|at| Some((at, at.text()?)))
        {
            judge(seen.now, &seen.folder.join(path), at, told);
        }
    }
}

/// A peer refuses what is over, in whatever place of the chain.
fn judge_certificates(now: Moment, path: &Path, at: Spot<'_>, told: &mut Vec<Warning>) {
    // What cannot be read has been a fault.
    for (index, (from, end)) in tls::validities(path).unwrap_or_default().into_iter().enumerate() {
        let which = match index {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the chain", index + 1),
        };
        let (rule, how) = if end <= now {
            (Rule::CertificateExpired, format!("is over since {}", date(end)))
        } else if end <= now + SOON {
            (Rule::CertificateExpiresSoon, format!("is over on {}", date(end)))
        } else if from > now {
            (Rule::CertificateNotYetGood, format!("is good from {} on only", date(from)))
        } else {
            continue;
        };
        told.push(at.warning(rule, format!("{which} in `{}` {how}", path.display())));
    }
}

/// What is known as an authority is believed whatever dates its certificate has.
fn judge_authorities(now: Moment, path: &Path, at: Spot<'_>, told: &mut Vec<Warning>) {
    for (index, (_, end)) in tls::validities(path).unwrap_or_default().into_iter().enumerate() {
        if end <= now {
            let message = format!(
                "authority {} in `{}` is over since {}",
                index + 1,
                path.display(),
                date(end)
            );
            told.push(at.warning(Rule::AuthorityExpired, message));
        }
    }
}

fn judge_secret(_: Moment, path: &Path, at: Spot<'_>, told: &mut Vec<Warning>) {
    let Ok(may) = tls::others_may(path) else { return };
    let what = match (may.read, may.write) {
        (false, false) => return,
        (true, false) => "read",
        (false, true) => "change",
        (true, true) => "read and change",
    };
    let message = format!("everybody on this machine can {what} `{}`", path.display());
    told.push(at.warning(Rule::SecretReadable, message));
}

fn date(moment: Moment) -> String {
    let seconds = i64::try_from(moment.unix_s()).ok();
    let date = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    date.map_or_else(|| "a day that nobody has a name for".to_owned(), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn keys(schema: &Value) -> Vec<String> {
        let own = schema["properties"].as_object().into_iter().flatten();
        let own = own.map(|(key, _)| key.clone());
        let below = match schema {
            Value::Object(members) => members.values().flat_map(keys).collect(),
            Value::Array(items) => items.iter().flat_map(keys).collect(),
            _ => Vec::new(),
        };
        own.chain(below).collect()
    }

    #[test]
    fn of_each_key_that_names_a_file_it_is_known_what_that_holds() {
        for file in
            [PolicyFile::Gateway, PolicyFile::Operators, PolicyFile::Clients, PolicyFile::Routes]
        {
            let keys = keys(&file.json_schema());
            assert!(!keys.is_empty());
            for key in keys.iter().filter(|key| key.ends_with("_file") || key.ends_with("_files")) {
                assert!(holds(file, key).is_some(), "{}: {key}", file.name());
            }
        }
    }
}
