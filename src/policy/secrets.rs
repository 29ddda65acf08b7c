//! Reads secrets from files or environment variables. A policy file never contains a secret.

use std::path::{Path, PathBuf};

use super::{
    diagnostic::Diagnostic,
    scalars::{FilePath, Scalar, VariableName},
    source::YamlCursor,
};
use crate::{
    qod::Secret,
    reloadable::{ParseSecret, Reloadable, read_secret_line},
};

/// A reference to a secret, by two keys of an entry.
#[derive(Debug)]
pub(super) struct SecretReference {
    pub(super) file: Option<Scalar<FilePath>>,
    pub(super) variable: Option<Scalar<VariableName>>,
}

enum SecretSource<'a> {
    File(PathBuf),
    Variable(&'a str),
}

impl SecretReference {
    /// Returns whether a secret is referenced.
    pub(super) const fn is_present(&self) -> bool {
        self.file.is_some() || self.variable.is_some()
    }

    /// Reads the secret. `name` is the prefix of both keys: `name_file` and `name_env`.
    pub(super) fn read(
        &self,
        name: &str,
        entry: YamlCursor<'_>,
        folder: &Path,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Secret> {
        let (source, at) = self.source(name, entry, folder, errors)?;
        let secret = match source {
            SecretSource::File(path) => read_secret_line(&path),
            SecretSource::Variable(name) => read_variable(name).and_then(|text| {
                text.single_line()
                    .map_err(|error| format!("{error} (in environment variable `{name}`)"))
            }),
        };
        secret.map_err(|message| errors.push(at.error(message))).ok()
    }

    /// Loads a secret that is reloaded when its file changes.
    pub(super) fn load_reloadable<T: Send + Sync + 'static>(
        &self,
        name: &str,
        read: ParseSecret<T>,
        entry: YamlCursor<'_>,
        folder: &Path,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Reloadable<T>> {
        let (source, at) = self.source(name, entry, folder, errors)?;
        let secret = match source {
            SecretSource::File(path) => Reloadable::from_file(path, read),
            SecretSource::Variable(name) => {
                let value = read_variable(name).and_then(|text| {
                    read(&text)
                        .map_err(|error| format!("{error} (in environment variable `{name}`)"))
                });
                value.map(Reloadable::fixed)
            }
        };
        secret.map_err(|message| errors.push(at.error(message))).ok()
    }

    /// Loads the secret of the keys `client_secret_file` and `client_secret_env`.
    pub(super) fn load_client_secret(
        &self,
        entry: YamlCursor<'_>,
        folder: &Path,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Reloadable<Secret>> {
        self.load_reloadable("client_secret", Secret::client_secret, entry, folder, errors)
    }

    fn source<'a>(
        &'a self,
        name: &str,
        entry: YamlCursor<'a>,
        folder: &Path,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<(SecretSource<'a>, YamlCursor<'a>)> {
        let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
        match (&self.file, &self.variable) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = format!("expected either `{file_key}` or `{variable_key}`, not both");
                errors.push(entry.key_name(&variable_key).error(message));
                None
            }
            (Some(file), None) => {
                Some((SecretSource::File(folder.join(&file.0.0)), entry.key(&file_key)))
            }
            (None, Some(variable)) => {
                Some((SecretSource::Variable(&variable.0.0), entry.key(&variable_key)))
            }
        }
    }
}

/// Reads the secret of a file.
pub(super) fn read_secret_file(
    file: &FilePath,
    at: YamlCursor<'_>,
    folder: &Path,
    errors: &mut Vec<Diagnostic>,
) -> Option<Secret> {
    let secret = read_secret_line(&folder.join(&file.0));
    secret.map_err(|message| errors.push(at.error(message))).ok()
}

#[expect(clippy::disallowed_methods, reason = "the only function that reads the environment")]
fn read_variable(name: &str) -> Result<Secret, String> {
    std::env::var(name).map(Secret::new).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("environment variable `{name}` is not set"),
        std::env::VarError::NotUnicode(_) => {
            format!("environment variable `{name}` is not valid UTF-8")
        }
    })
}
