//! The imports section of `routes.yaml`: rules of the GSMA Telco Routing API.

use std::{collections::HashMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{finders::PeerCredentials, table_error};
use crate::{
    outbound::Endpoint,
    policy::{
        diagnostic::Diagnostic,
        oauth2::OAuth2Entry,
        references::References,
        scalars::{FilePath, PeerUrl, PositiveDuration, Scalar, Section},
        settings::OperatorSettings,
        source::YamlCursor,
        tls::PeerTlsFiles,
    },
    qod::FinderId,
    route::{
        Match, Routes,
        import::{self, ImportNames, ImportPoller, Settings},
    },
};

/// Routing rules that an operator publishes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportEntry {
    /// A file with a response of its Telco Routing API.
    file: Option<Scalar<FilePath>>,
    /// The URL to poll for the rules, instead of a file.
    url: Option<Scalar<PeerUrl>>,
    /// The only operator that the rules may refer to. Default: any.
    operator: Option<String>,
    /// The poll interval.
    poll_interval: Option<Scalar<PositiveDuration>>,
    /// The file of the bearer token for `Authorization`.
    bearer_token_file: Option<Scalar<FilePath>>,
    /// OAuth 2.0 client settings, instead of a fixed bearer token.
    oauth2: Option<OAuth2Entry>,
    /// The file of the CA certificates (PEM) that its certificate and that of its token endpoint must
    /// chain to. Default: the public CAs.
    ca_file: Option<Scalar<FilePath>>,
    /// The file of the client certificate with its chain (PEM), for both.
    client_certificate_file: Option<Scalar<FilePath>>,
    /// The file of the private key of the client certificate (PEM).
    client_key_file: Option<Scalar<FilePath>>,
}

const POLL_INTERVAL: Duration = Duration::from_mins(10);

/// Adds the imports to the routes. `files` are the tables of the routes.
pub(super) fn validate(
    entries: Vec<Section<ImportEntry>>,
    (all, references): (YamlCursor<'_>, &References<'_>),
    (operators, finders): (&[OperatorSettings], &HashMap<String, FinderId>),
    (mut routes, mut files): (Routes, Vec<String>),
    errors: &mut Vec<Diagnostic>,
) -> Routes {
    let mut polls: Vec<(String, Arc<ImportPoller>)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = all.item(index);
        let Some(entry) = at.section(entry, errors) else { continue };
        if let Some(operator) = &entry.operator {
            references.check_operator(operator, at.key("operator"), errors);
        }
        // The names are incomplete if the entry of an operator is invalid.
        let names = entry.names(references, operators, finders);
        match (&entry.file, &entry.url) {
            (Some(file), None) => {
                entry.reject_unused_keys(at, errors);
                let file_at = at.key("file");
                let path = references.check_file(&file.0, file_at, errors);
                let Some((path, names)) = path.zip(names) else { continue };
                match import::open(&path, &names) {
                    Ok((table, summary)) => {
                        let name = path.display().to_string();
                        tracing::info!(
                            event = "routing_rules_imported",
                            import = name,
                            "routing rules imported: {summary}"
                        );
                        log_conflicts(&name, &routes.import(table), &files);
                        files.push(name);
                    }
                    Err(import_errors) => {
                        errors.extend(
                            import_errors.into_iter().map(|error| table_error(error, file_at)),
                        );
                    }
                }
            }
            (None, Some(url)) => {
                let url = url.0.text.clone();
                if polls.iter().any(|(other, _)| *other == url) {
                    errors.push(at.key("url").error("duplicate URL"));
                }
                let settings = entry.settings(names.unwrap_or_default(), at, references, errors);
                polls.extend(settings.map(|settings| (url, Arc::new(ImportPoller::new(settings)))));
            }
            (Some(_), Some(_)) | (None, None) => {
                errors.push(at.error("expected either `file` or `url`"));
            }
        }
    }
    routes.with_polls(polls.into_iter().map(|(_, poll)| poll).collect())
}

fn log_conflicts(name: &str, conflicts: &[(Option<usize>, Match)], files: &[String]) {
    for (index, same) in conflicts {
        let earlier = index.and_then(|index| files.get(index)).map(String::as_str);
        let conflict = super::describe_conflict(earlier, same);
        tracing::warn!(
            event = "imported_rule_ignored",
            import = name,
            "imported rule ignored: {conflict}"
        );
    }
}

impl ImportEntry {
    fn names(
        &self,
        references: &References<'_>,
        operators: &[OperatorSettings],
        finders: &HashMap<String, FinderId>,
    ) -> Option<ImportNames> {
        let operator_ids =
            operators.iter().map(|one| (one.gsma.operator_id.clone(), one.id.clone()));
        let names = ImportNames {
            operators: operator_ids.collect(),
            finders: finders.clone(),
            only_operator: self.operator.as_deref().map(Into::into),
        };
        (operators.len() == references.operator_count()).then_some(names)
    }

    fn reject_unused_keys(&self, at: YamlCursor<'_>, errors: &mut Vec<Diagnostic>) {
        let unused = [
            (self.poll_interval.is_some(), "poll_interval"),
            (self.bearer_token_file.is_some(), "bearer_token_file"),
            (self.oauth2.is_some(), "oauth2"),
            (self.ca_file.is_some(), "ca_file"),
            (self.client_certificate_file.is_some(), "client_certificate_file"),
            (self.client_key_file.is_some(), "client_key_file"),
        ];
        for (_, key) in unused.into_iter().filter(|(present, _)| *present) {
            errors.push(at.key_name(key).error("this key requires `url`"));
        }
    }

    fn settings(
        self,
        names: ImportNames,
        at: YamlCursor<'_>,
        references: &References<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Settings> {
        let Scalar(url) = self.url?;
        if url.exposed {
            errors.push(at.key("url").error("expected https"));
        }
        let interval = self.poll_interval.map_or(POLL_INTERVAL, |interval| interval.0.0);
        at.key("poll_interval").validate_interval(interval, errors);
        // One request at a time.
        let endpoint = Endpoint::parse(&url.text, 1);
        let endpoint = endpoint.map_err(|error| at.key("url").error(error.to_string()));
        let endpoint = endpoint.map_err(|error| errors.push(error)).ok();
        let peer = PeerCredentials {
            bearer_token_file: self.bearer_token_file,
            oauth2: self.oauth2,
            peers: PeerTlsFiles::new(
                self.ca_file.as_ref(),
                self.client_certificate_file.as_ref(),
                self.client_key_file.as_ref(),
            ),
        };
        let (credentials, trust) = peer.validate(&url, at, references, errors);
        Some(Settings {
            endpoint: endpoint?.with_trust(trust),
            url: url.text,
            credentials,
            names,
            poll_interval: interval,
            fingerprint: at.to_json().to_string(),
        })
    }
}
