//! What `routes.yaml` takes from others: rules of GSMA's Telco Routing API.

use std::{collections::HashMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{finders::Shows, table_fault};
use crate::{
    outbound::Endpoint,
    policy::{
        fault::Fault,
        known::Known,
        oauth2::OAuth2Entry,
        settings::OperatorSettings,
        source::Spot,
        tls::Peers,
        words::{FilePath, Part, Said, Span, Url},
    },
    qod::FinderId,
    route::{
        Match, Routes,
        import::{self, Names, Poll, Settings},
    },
};

/// Rules that an operator tells of itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportEntry {
    /// The file of an answer of its Telco Routing API.
    file: Option<Said<FilePath>>,
    /// Or the URL where it is asked for its rules.
    url: Option<Said<Url>>,
    /// The only operator that the rules may name.
    operator: Option<String>,
    /// How often it is asked.
    every: Option<Said<Span>>,
    /// The file of the token that we show in `Authorization`.
    bearer_token_file: Option<Said<FilePath>>,
    /// Or where and how such tokens are got.
    oauth2: Option<OAuth2Entry>,
    /// The authorities, in PEM, that it and its token endpoint must be known by.
    ca_file: Option<Said<FilePath>>,
    /// The certificate, in PEM, that we show them.
    client_certificate_file: Option<Said<FilePath>>,
    /// Its private key, in PEM.
    client_key_file: Option<Said<FilePath>>,
}

const EVERY: Duration = Duration::from_mins(10);

/// The routes, and what is imported; `files` are those of the routes' tables.
pub(super) fn judge(
    entries: Vec<Part<ImportEntry>>,
    (all, known): (Spot<'_>, &Known<'_>),
    (operators, finders): (&[OperatorSettings], &HashMap<String, FinderId>),
    (mut routes, mut files): (Routes, Vec<String>),
    faults: &mut Vec<Fault>,
) -> Routes {
    let mut polls: Vec<(String, Arc<Poll>)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = all.item(index);
        let Some(entry) = at.read(entry, faults) else { continue };
        if let Some(operator) = &entry.operator {
            known.operator(operator, at.key("operator"), faults);
        }
        // Who is called what is not known, if an operator's own entry cannot be read.
        let names = entry.names(known, operators, finders);
        match (&entry.file, &entry.url) {
            (Some(file), None) => {
                entry.refuse_idle_keys(at, faults);
                let spot = at.key("file");
                let path = known.file(&file.0, spot, faults);
                let Some((path, names)) = path.zip(names) else { continue };
                match import::open(&path, &names) {
                    Ok((table, told)) => {
                        let name = path.display().to_string();
                        tracing::info!(import = name, "{told}");
                        note_clashes(&name, &routes.import(table), &files);
                        files.push(name);
                    }
                    Err(wrong) => {
                        faults.extend(wrong.into_iter().map(|fault| table_fault(fault, spot)));
                    }
                }
            }
            (None, Some(url)) => {
                let url = url.0.text.clone();
                if polls.iter().any(|(other, _)| *other == url) {
                    faults.push(at.key("url").fault("it is asked already"));
                }
                let settings = entry.settings(names.unwrap_or_default(), at, known, faults);
                polls.extend(settings.map(|settings| (url, Arc::new(Poll::new(settings)))));
            }
            (Some(_), Some(_)) | (None, None) => {
                faults.push(at.fault("expected either `file` or `url`"));
            }
        }
    }
    routes.polling(polls.into_iter().map(|(_, poll)| poll).collect())
}

fn note_clashes(name: &str, clashes: &[(Option<usize>, Match)], files: &[String]) {
    for (place, same) in clashes {
        let before = place.and_then(|place| files.get(place)).map(String::as_str);
        let note = super::contradiction(before, same);
        tracing::warn!(import = name, "{note}, which is taken");
    }
}

impl ImportEntry {
    fn names(
        &self,
        known: &Known<'_>,
        operators: &[OperatorSettings],
        finders: &HashMap<String, FinderId>,
    ) -> Option<Names> {
        let all = operators.iter().map(|one| (one.gsma.operator_id.clone(), one.id.clone()));
        let names = Names {
            operators: all.collect(),
            finders: finders.clone(),
            only: self.operator.as_deref().map(Into::into),
        };
        (operators.len() == known.operator_count()).then_some(names)
    }

    fn refuse_idle_keys(&self, at: Spot<'_>, faults: &mut Vec<Fault>) {
        let idle = [
            (self.every.is_some(), "every"),
            (self.bearer_token_file.is_some(), "bearer_token_file"),
            (self.oauth2.is_some(), "oauth2"),
            (self.ca_file.is_some(), "ca_file"),
            (self.client_certificate_file.is_some(), "client_certificate_file"),
            (self.client_key_file.is_some(), "client_key_file"),
        ];
        for (_, key) in idle.into_iter().filter(|(there, _)| *there) {
            faults.push(at.name(key).fault("this is of use with a `url` only"));
        }
    }

    fn settings(
        self,
        names: Names,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Settings> {
        let Said(url) = self.url?;
        if url.exposed {
            faults.push(at.key("url").fault("expected https"));
        }
        let every = self.every.map_or(EVERY, |every| every.0.0);
        at.key("every").judge_every(every, faults);
        // One question is asked at a time.
        let endpoint = Endpoint::parse(&url.text, 1);
        let endpoint = endpoint.map_err(|error| at.key("url").fault(error.to_string()));
        let endpoint = endpoint.map_err(|fault| faults.push(fault)).ok();
        let shows = Shows {
            bearer_token_file: self.bearer_token_file,
            oauth2: self.oauth2,
            peers: Peers::of(
                self.ca_file.as_ref(),
                self.client_certificate_file.as_ref(),
                self.client_key_file.as_ref(),
            ),
        };
        let (credentials, trust) = shows.judge(&url, at, known, faults);
        Some(Settings {
            endpoint: endpoint?.trusting(trust),
            url: url.text,
            credentials,
            names,
            every,
            said: at.to_json().to_string(),
        })
    }
}
