//! Reads secrets from files or environment variables. A policy file never contains a secret.

use std::path::PathBuf;

use super::{
    scalars::{FilePath, Scalar, VariableName},
    validation::Validation,
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
    pub(super) fn read(&self, name: &str, entry: Validation<'_>) -> Option<Secret> {
        let (source, at) = self.source(name, entry)?;
        at.ok(match source {
            SecretSource::File(path) => read_secret_line(&path),
            SecretSource::Variable(name) => read_variable(name, Secret::single_line),
        })
    }

    /// Loads a secret that is reloaded when its file changes.
    pub(super) fn load_reloadable<T: Send + Sync + 'static>(
        &self,
        name: &str,
        read: ParseSecret<T>,
        entry: Validation<'_>,
    ) -> Option<Reloadable<T>> {
        let (source, at) = self.source(name, entry)?;
        at.ok(match source {
            SecretSource::File(path) => Reloadable::from_file(path, read),
            SecretSource::Variable(name) => read_variable(name, read).map(Reloadable::fixed),
        })
    }

    /// Loads the secret of the keys `client_secret_file` and `client_secret_env`.
    pub(super) fn load_client_secret(&self, entry: Validation<'_>) -> Option<Reloadable<Secret>> {
        self.load_reloadable("client_secret", Secret::client_secret, entry)
    }

    fn source<'a>(
        &'a self,
        name: &str,
        entry: Validation<'a>,
    ) -> Option<(SecretSource<'a>, Validation<'a>)> {
        let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
        match (&self.file, &self.variable) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let message = format!("expected either `{file_key}` or `{variable_key}`, not both");
                entry.key_name(&variable_key).report(message);
                None
            }
            (Some(file), None) => {
                Some((SecretSource::File(entry.path(&file.0)), entry.key(&file_key)))
            }
            (None, Some(variable)) => {
                Some((SecretSource::Variable(&variable.0.0), entry.key(&variable_key)))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only function that reads the environment")]
fn read_variable<T>(name: &str, parse: impl Fn(&Secret) -> Result<T, String>) -> Result<T, String> {
    let secret = std::env::var(name).map(Secret::new).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("environment variable `{name}` is not set"),
        std::env::VarError::NotUnicode(_) => {
            format!("environment variable `{name}` is not valid UTF-8")
        }
    })?;
    parse(&secret).map_err(|error| format!("{error} (in environment variable `{name}`)"))
}
