//! Lints the files that policies refer to: expired certificates, and secrets that all users can read.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::{LintContext, LintRule};
use crate::{
    policy::{PolicyFile, source::YamlCursor},
    qod::Moment,
    tls,
};

/// The content of a file that policies refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileContent {
    /// A certificate of the gateway, followed by its chain.
    Certificate,
    /// Trusted CA certificates.
    Authorities,
    Secret,
    /// Public content that does not expire.
    Public,
}

const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);

/// Returns the content of the file that a key refers to, or `None` if the key is not a file.
fn content_of(file: PolicyFile, key: &str) -> Option<FileContent> {
    match (file, key) {
        (_, "certificate_file" | "client_certificate_file") => Some(FileContent::Certificate),
        (_, "ca_file" | "client_ca_file" | "extra_ca_file") => Some(FileContent::Authorities),
        (_, "jwks_file") | (PolicyFile::Clients, "proof_key_file") => Some(FileContent::Public),
        (
            _,
            "key_file"
            | "previous_key_files"
            | "client_key_file"
            | "bearer_token_file"
            | "token_file"
            | "client_secret_file"
            | "private_key_file"
            | "x_authorization_file"
            | "proof_key_file"
            | "value_file"
            | "url_file",
        ) => Some(FileContent::Secret),
        _ => None,
    }
}

pub(super) fn lint(context: &LintContext<'_>) {
    for (file, root) in [
        (PolicyFile::Gateway, context.roots.gateway),
        (PolicyFile::Clients, context.roots.clients),
        (PolicyFile::Routes, context.roots.routes),
    ] {
        walk(context, root, &|key| content_of(file, key));
    }
    for (_, operator) in context.roots.operators.key("operators").entries() {
        let is_simulated = operator.key("simulated").is_true();
        walk(context, operator, &|key| match content_of(PolicyFile::Operators, key) {
            // The credentials of a simulated operator are not secret.
            Some(FileContent::Secret) if is_simulated => Some(FileContent::Public),
            other => other,
        });
    }
    check_ledger(context);
}

// A note, because another user may run the gateway.
fn check_ledger(context: &LintContext<'_>) {
    let Err(error) = context.policy.store.check_access() else { return };
    let (root, at) = (context.roots.gateway, context.roots.gateway.key("store"));
    let at = at.get("directory").or_else(|| root.get("store")).unwrap_or(root);
    let directory = at.text().unwrap_or("../ledger");
    let message =
        format!("this user cannot keep the ledger in `{directory}` (`store.directory`): {error}");
    context.report(at, LintRule::LedgerNotWritable, message);
}

fn walk(
    context: &LintContext<'_>,
    at: YamlCursor<'_>,
    content_of: &dyn Fn(&str) -> Option<FileContent>,
) {
    for (key, at) in at.entries() {
        let check = match content_of(key) {
            Some(FileContent::Certificate) => check_certificates,
            Some(FileContent::Authorities) => check_authorities,
            Some(FileContent::Secret) => check_secret,
            Some(FileContent::Public) => continue,
            // Header fields can have any name.
            None if key == "headers" => continue,
            None => {
                at.items().chain([at]).for_each(|at| walk(context, at, content_of));
                continue;
            }
        };
        for (at, path) in
            std::iter::once(at).chain(at.items()).filter_map(|at| Some((at, at.text()?)))
        {
            check(context, &context.folder.join(path), at);
        }
    }
}

/// A peer rejects an expired certificate anywhere in the chain.
fn check_certificates(context: &LintContext<'_>, path: &Path, at: YamlCursor<'_>) {
    // Unreadable files have been reported as errors.
    for (index, (from, end)) in tls::validities(path).unwrap_or_default().into_iter().enumerate() {
        let which = match index {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the chain", index + 1),
        };
        let (rule, how) = if end <= context.now {
            (LintRule::CertificateExpired, format!("expired on {}", date(end)))
        } else if end <= context.now + EXPIRES_SOON {
            (LintRule::CertificateExpiresSoon, format!("expires on {}", date(end)))
        } else if from > context.now {
            (LintRule::CertificateNotYetValid, format!("is not valid before {}", date(from)))
        } else {
            continue;
        };
        context.report(at, rule, format!("{which} in `{}` {how}", path.display()));
    }
}

/// A trust anchor is accepted regardless of its validity period, so this is a note only.
fn check_authorities(context: &LintContext<'_>, path: &Path, at: YamlCursor<'_>) {
    for (index, (_, end)) in tls::validities(path).unwrap_or_default().into_iter().enumerate() {
        if end <= context.now {
            let message = format!(
                "CA certificate {} in `{}` expired on {}",
                index + 1,
                path.display(),
                date(end)
            );
            context.report(at, LintRule::AuthorityExpired, message);
        }
    }
}

fn check_secret(context: &LintContext<'_>, path: &Path, at: YamlCursor<'_>) {
    let Ok(may) = tls::other_permissions(path) else { return };
    let what = match (may.read, may.write) {
        (false, false) => return,
        (true, false) => "read",
        (false, true) => "change",
        (true, true) => "read and change",
    };
    let message = format!("all users of this host can {what} `{}`", path.display());
    context.report(at, LintRule::SecretReadable, message);
}

fn date(moment: Moment) -> String {
    let seconds = i64::try_from(moment.unix_s()).ok();
    let date = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    date.map_or_else(|| "a date out of range".to_owned(), |date| date.to_string())
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
    fn every_file_key_has_a_known_content() {
        for file in
            [PolicyFile::Gateway, PolicyFile::Operators, PolicyFile::Clients, PolicyFile::Routes]
        {
            let keys = keys(&file.json_schema());
            assert!(!keys.is_empty());
            for key in keys.iter().filter(|key| key.ends_with("_file") || key.ends_with("_files")) {
                assert!(content_of(file, key).is_some(), "{}: {key}", file.name());
            }
        }
    }
}
