//! Errors that concern the policy folder as a whole: it is missing, it is a file, it contains no policy
//! files, or a file has the extension `.yml`.

use std::{fs, io, net::SocketAddr, path::Path};

use super::{
    PolicyFile,
    diagnostic::{Diagnostic, ErrorList, quoted},
};

/// Returns an error if this cannot be a policy folder, so that the error is reported once and not for
/// each file.
pub(super) fn check_folder(folder: &Path) -> Result<(), Vec<Diagnostic>> {
    let message = match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {
            let any = PolicyFile::ALL.iter().any(|file| {
                let path = folder.join(file.name());
                exists(&path) || exists(&path.with_extension("yml"))
            });
            if any {
                return Ok(());
            }
            "this folder contains no policy file, such as gateway.yaml; name the policy folder \
             (`check DIR`, `serve --policies DIR`)"
                .to_owned()
        }
        Ok(_) => {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| Path::new("."));
            format!("this is a file, not a folder; name its folder, `{}`", parent.display())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "there is no such folder; name the policy folder (`check DIR`, `serve --policies DIR`)"
                .to_owned()
        }
        Err(error) => format!("failed to read the folder: {error}"),
    };
    Err(vec![Diagnostic::of_path(folder, message)])
}

/// Returns a hint if a file is missing, but exists with the extension `.yml`.
pub(super) fn hint_extension(path: &Path) -> Option<String> {
    let other = path.with_extension("yml");
    let found = !exists(path) && exists(&other);
    let name = |path: &Path| path.file_name().map(|name| quoted(&name.to_string_lossy()));
    found.then(|| Some(format!("rename {} to {}", name(&other)?, name(path)?))).flatten()
}

// A dangling symbolic link exists.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns the place of a listener's address in `gateway.yaml`, as `FILE:LINE:COLUMN`, if the file has
/// this address.
pub fn locate_listener(folder: &Path, address: SocketAddr) -> Option<String> {
    let source = PolicyFile::Gateway.read(folder, &ErrorList::default())?;
    let root = source.root();
    let admin = root.key("admin");
    let entries = [admin, admin.key("metrics"), root.key("callbacks")];
    let entries = root.key("listeners").items().chain(entries);
    let parse = |text: &str| text.parse::<SocketAddr>().ok();
    let found = entries
        .map(|entry| entry.key("address"))
        .find(|at| at.text().and_then(parse) == Some(address))?;
    let Diagnostic { file, line, column, .. } = found.error("");
    Some(format!("{}:{line}:{column}", file.display()))
}
