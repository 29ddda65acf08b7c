//! The imports section of `routes.yaml`: rules of the GSMA Telco Routing API.

use std::{collections::HashMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{finders::PeerCredentials, report_table_error};
use crate::{
    operator,
    outbound::Endpoint,
    policy::{
        oauth2::OAuth2Entry,
        scalars::{FilePath, PeerUrl, PositiveDuration, Scalar, Section},
        tls::PeerTlsFiles,
        validation::{References, Validation},
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

/// The names that imported rules may refer to.
#[derive(Clone, Copy)]
pub(super) struct ImportSources<'a> {
    pub(super) operators: &'a [operator::Settings],
    /// The Telco Finders by URL.
    pub(super) telco_finders: &'a HashMap<String, FinderId>,
}

/// Adds the imports to the routes. `files` are the tables of the routes.
pub(super) fn validate(
    entries: Vec<Section<ImportEntry>>,
    all: Validation<'_>,
    sources: ImportSources<'_>,
    mut routes: Routes,
    mut files: Vec<String>,
) -> Routes {
    let mut polls: Vec<(String, Arc<ImportPoller>)> = Vec::new();
    for (at, entry) in all.items(entries) {
        if let Some(operator) = &entry.operator {
            at.key("operator").check_operator(operator);
        }
        // The names are incomplete if the entry of an operator is invalid.
        let names = entry.names(sources, at.references);
        match (&entry.file, &entry.url) {
            (Some(file), None) => {
                let message = "this key requires `url`";
                at.reject_keys(
                    [
                        "poll_interval",
                        "bearer_token_file",
                        "oauth2",
                        "ca_file",
                        "client_certificate_file",
                        "client_key_file",
                    ],
                    message,
                );
                let file_at = at.key("file");
                let path = file_at.check_file(&file.0);
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
                        for error in import_errors {
                            report_table_error(error, file_at);
                        }
                    }
                }
            }
            (None, Some(url)) => {
                let url = url.0.text.clone();
                if polls.iter().any(|(other, _)| *other == url) {
                    at.key("url").report("duplicate URL");
                }
                let settings = entry.settings(names.unwrap_or_default(), at);
                polls.extend(settings.map(|settings| (url, Arc::new(ImportPoller::new(settings)))));
            }
            (Some(_), Some(_)) | (None, None) => {
                at.report("expected either `file` or `url`");
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
        sources: ImportSources<'_>,
        references: &References<'_>,
    ) -> Option<ImportNames> {
        let ImportSources { operators, telco_finders } = sources;
        let operator_ids =
            operators.iter().map(|one| (one.gsma.operator_id.clone(), one.id.clone()));
        let names = ImportNames {
            operators: operator_ids.collect(),
            finders: telco_finders.clone(),
            only_operator: self.operator.as_deref().map(Into::into),
        };
        (operators.len() == references.operator_count()).then_some(names)
    }

    fn settings(self, names: ImportNames, at: Validation<'_>) -> Option<Settings> {
        let Scalar(url) = self.url?;
        if url.exposed {
            at.key("url").report("expected https");
        }
        let interval = self.poll_interval.map_or(POLL_INTERVAL, |interval| interval.0.0);
        at.key("poll_interval").check_interval(interval);
        // One request at a time.
        let endpoint = at.key("url").ok(Endpoint::parse(&url.text, 1));
        let peer = PeerCredentials {
            bearer_token_file: self.bearer_token_file,
            oauth2: self.oauth2,
            peers: PeerTlsFiles::new(
                self.ca_file.as_ref(),
                self.client_certificate_file.as_ref(),
                self.client_key_file.as_ref(),
            ),
        };
        let (credentials, trust) = peer.validate(&url, at);
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
