//! Lints YAML files of the policy folder that are not read, such as policy tests in another folder than
//! `tests`.

use std::{ffi::OsStr, fs, path::Path};

use super::{LintContext, LintRule, LintWarning};
use crate::policy::{PolicyFile, fingerprint::yaml_files, policy_tests::FOLDER};

pub(super) fn lint(context: &LintContext<'_>) {
    let is_policy = |path: &Path| PolicyFile::ALL.iter().any(|file| path.ends_with(file.name()));
    for file in yaml_files(context.folder).filter(|path| !is_policy(path)) {
        let message =
            "this file is not read: it is no policy file, and policy tests are in `tests`";
        report(context, &file, message);
    }
    let entries = fs::read_dir(context.folder.join(FOLDER)).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        // Kubernetes mounts files by means of hidden folders.
        let is_folder = entry.file_type().is_ok_and(|of| of.is_dir());
        if is_folder && !is_hidden(&entry.file_name()) {
            for file in yaml_files(&entry.path()) {
                report(context, &file, "this file is not read: it is in a folder of `tests`");
            }
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn report(context: &LintContext<'_>, file: &Path, message: &str) {
    let (file, message) = (file.to_owned(), message.to_owned());
    let warning = LintWarning { file, line: 1, column: 1, rule: LintRule::UnreadFile, message };
    context.warnings.borrow_mut().push(warning);
}
