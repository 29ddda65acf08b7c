//! Secrets: in a file of their own or in the environment, never in a policy.

use std::path::Path;

use super::{
    fault::Fault,
    source::Spot,
    words::{FilePath, Said, VariableName},
};
use crate::qod::Secret;

const BYTES_MAX: u64 = 16 << 10;

/// Where a secret is, by two keys of an entry.
#[derive(Debug)]
pub(super) struct Whereabouts {
    pub(super) file: Option<Said<FilePath>>,
    pub(super) variable: Option<Said<VariableName>>,
}

impl Whereabouts {
    /// Fetches the secret. `name` begins both keys: `name_file` and `name_env`.
    pub(super) fn fetch(
        &self,
        name: &str,
        entry: Spot<'_>,
        folder: &Path,
        faults: &mut Vec<Fault>,
    ) -> Option<Secret> {
        let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
        let (found, at) = match (&self.file, &self.variable) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                let message = format!("expected `{file_key}` or `{variable_key}`, not both");
                faults.push(entry.name(&variable_key).fault(message));
                return None;
            }
            (Some(file), None) => (text_of(&folder.join(&file.0.0)), entry.key(&file_key)),
            (None, Some(variable)) => (of_variable(&variable.0.0), entry.key(&variable_key)),
        };
        found.and_then(|text| sound(&text)).map_err(|message| faults.push(at.fault(message))).ok()
    }
}

/// Fetches the secret of a file.
pub(super) fn of_file(
    file: &FilePath,
    at: Spot<'_>,
    folder: &Path,
    faults: &mut Vec<Fault>,
) -> Option<Secret> {
    let found = text_of(&folder.join(&file.0)).and_then(|text| sound(&text));
    found.map_err(|message| faults.push(at.fault(message))).ok()
}

fn text_of(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("`{}` cannot be read: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(format!("`{}` is not a file of at most 16 KiB", path.display()));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the environment")]
fn of_variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("the variable `{name}` is not set"),
        std::env::VarError::NotUnicode(_) => format!("the variable `{name}` is not a text"),
    })
}

// A secret ends up in a header field: whatever else stands in it would break out of there.
fn sound(text: &str) -> Result<Secret, String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("the secret is empty".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the secret is not one line of visible ASCII characters".to_owned());
    }
    Ok(Secret::new(text))
}
