//! Secrets: in a file of their own or in the environment, never in a policy.

use std::path::{Path, PathBuf};

use super::{
    fault::Fault,
    source::Spot,
    words::{FilePath, Said, VariableName},
};
use crate::{
    kept::{Kept, Read, secret_of},
    qod::Secret,
};

/// Where a secret is, by two keys of an entry.
#[derive(Debug)]
pub(super) struct Whereabouts {
    pub(super) file: Option<Said<FilePath>>,
    pub(super) variable: Option<Said<VariableName>>,
}

enum Place<'a> {
    File(PathBuf),
    Variable(&'a str),
}

impl Whereabouts {
    /// Is there one?
    pub(super) const fn is_somewhere(&self) -> bool {
        self.file.is_some() || self.variable.is_some()
    }

    /// Fetches the secret. `name` begins both keys: `name_file` and `name_env`.
    pub(super) fn fetch(
        &self,
        name: &str,
        entry: Spot<'_>,
        folder: &Path,
        faults: &mut Vec<Fault>,
    ) -> Option<Secret> {
        let (place, at) = self.place(name, entry, folder, faults)?;
        let found = match place {
            Place::File(path) => secret_of(&path),
            Place::Variable(name) => of_variable(name),
        };
        found.and_then(|text| text.line()).map_err(|message| faults.push(at.fault(message))).ok()
    }

    /// The same, for one that is read anew when its file is changed.
    pub(super) fn keep<T: Send + Sync + 'static>(
        &self,
        name: &str,
        read: Read<T>,
        entry: Spot<'_>,
        folder: &Path,
        faults: &mut Vec<Fault>,
    ) -> Option<Kept<T>> {
        let (place, at) = self.place(name, entry, folder, faults)?;
        let kept = match place {
            Place::File(path) => Kept::of_file(path, read),
            Place::Variable(name) => {
                of_variable(name).and_then(|text| read(&text)).map(Kept::fixed)
            }
        };
        kept.map_err(|message| faults.push(at.fault(message))).ok()
    }

    fn place<'a>(
        &'a self,
        name: &str,
        entry: Spot<'a>,
        folder: &Path,
        faults: &mut Vec<Fault>,
    ) -> Option<(Place<'a>, Spot<'a>)> {
        let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
        match (&self.file, &self.variable) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = format!("expected `{file_key}` or `{variable_key}`, not both");
                faults.push(entry.name(&variable_key).fault(message));
                None
            }
            (Some(file), None) => Some((Place::File(folder.join(&file.0.0)), entry.key(&file_key))),
            (None, Some(variable)) => {
                Some((Place::Variable(&variable.0.0), entry.key(&variable_key)))
            }
        }
    }
}

/// Fetches the secret of a file.
pub(super) fn of_file(
    file: &FilePath,
    at: Spot<'_>,
    folder: &Path,
    faults: &mut Vec<Fault>,
) -> Option<Secret> {
    let found = secret_of(&folder.join(&file.0)).and_then(|text| text.line());
    found.map_err(|message| faults.push(at.fault(message))).ok()
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the environment")]
fn of_variable(name: &str) -> Result<Secret, String> {
    std::env::var(name).map(Secret::new).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("the variable `{name}` is not set"),
        std::env::VarError::NotUnicode(_) => format!("the variable `{name}` is not a text"),
    })
}
