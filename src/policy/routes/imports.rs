//! What `routes.yaml` takes from others: rules of GSMA's Telco Routing API.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::table_fault;
use crate::{
    policy::{
        fault::Fault,
        known::Known,
        settings::OperatorSettings,
        source::Spot,
        words::{FilePath, Part, Said},
    },
    route::{
        Routes,
        import::{self, Names},
    },
};

/// Rules that an operator tells of itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportEntry {
    /// The file of an answer of its Telco Routing API.
    file: Said<FilePath>,
    /// The only operator that the rules may name.
    operator: Option<String>,
}

/// Adds what is imported to the routes; `files` are those of its tables.
pub(super) fn judge(
    entries: Vec<Part<ImportEntry>>,
    (at, known): (Spot<'_>, &Known<'_>),
    operators: &[OperatorSettings],
    (routes, mut files): (&mut Routes, Vec<String>),
    faults: &mut Vec<Fault>,
) {
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(entry) = at.read(entry, faults) else { continue };
        if let Some(operator) = &entry.operator {
            known.operator(operator, at.key("operator"), faults);
        }
        let spot = at.key("file");
        let Some(path) = known.file(&entry.file.0, spot, faults) else { continue };
        // Who is called what is not known, if an operator's own entry cannot be read.
        let Some(names) = entry.names(known, operators) else { continue };
        match import::open(&path, &names) {
            Ok((table, told)) => {
                let name = path.display().to_string();
                tracing::info!(import = name, "{told}");
                for (place, same) in routes.import(Arc::clone(&table)) {
                    let before = place.and_then(|place| files.get(place)).map(String::as_str);
                    let note = super::contradiction(before, &same);
                    tracing::warn!(import = name, "{note}, which is taken");
                }
                files.push(name);
            }
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| table_fault(fault, spot)));
            }
        }
    }
}

impl ImportEntry {
    fn names(&self, known: &Known<'_>, operators: &[OperatorSettings]) -> Option<Names> {
        let all = operators.iter().map(|one| (one.gsma.operator_id.clone(), one.id.clone()));
        let names =
            Names { operators: all.collect(), only: self.operator.as_deref().map(Into::into) };
        (operators.len() == known.operator_count()).then_some(names)
    }
}
