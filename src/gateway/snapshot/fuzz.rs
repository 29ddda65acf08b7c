//! The rules that hold for any content of the policy files, for the fuzz targets: the loader does not panic; it
//! accepts the folder, or reports errors with valid positions.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::{cell::RefCell, collections::HashMap, fs, path::Path};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::Outbound,
    policy::{Diagnostic, PolicyFile},
    qod::{Device, DeviceIpv4, PhoneNumber, Verbatim},
    route::{self, Routes},
};

// An error must stay readable.
const MESSAGE_BYTES_MAX: usize = 4096;

// A public key whose private key was discarded.
pub(super) const PROOF_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvMXzj4KM/aB8Thn/N27q
GNVcU4ql7mOTDh1Hfzf0zfSMsv9nwifX/NbVBxf35YjggkL+nmsb+bloP7TfSV2L
xP3N5mC2lztG0XdOXtbXEPjUNiYQS81TFYN7o9+uHq4MNzsMhyptU+yY6t0nwWD7
03BdmOva9ALvY8RzpX9vcE1LcZnoU4VrkLafVpRuaqBN9La5ORXsjQ00LJEDzi/z
dR3um867knweeBGrtXXP1I9stcMx4zluqtUk73v3l9r0So3mU+aj7t0xXinpqHyo
upCGd8Bkt85Nc4S9wf0BAWT2ShnWX/jK6990KhLobsJyFaYqf4PfSjyRJnueu7ub
BQIDAQAB
-----END PUBLIC KEY-----
";

const CSV: &str = "number,number_prefix,network,operator\n+4915188888888,,,tmobile-us\n\
                   ,+4917,,magenta-de\n,,203.0.113.0/24,telefonica-es\n,,2001:db8:50::/48,tmobile-us\n";
const DIALECTS: &str = "dialects:\n  acme:\n    based_on: camara-1.1.0\n    created_status: 200\n    \
                        port_min: 1024\n    error_shape: code_message\n    codes:\n      conflict: { \
                        status: 409, code: ALREADY_EXISTS }\n";

/// The table files of the folder: CSV and compiled.
pub(crate) const TABLES: [&str; 2] = ["ported.csv", "networks.table"];

/// A copy of the shipped policy folder.
pub(super) struct PolicyFolderCopy(pub(super) PathBuf);

/// A valid policy folder whose files are replaced for each case.
pub(crate) struct FuzzFolder {
    copy: PolicyFolderCopy,
    caller: Caller,
    before: PolicySnapshot,
    /// The names of the files and their valid content.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    // The files that the last case replaced.
    replaced: RefCell<Vec<String>>,
    // The loader creates tasks and timers.
    runtime: Runtime,
}

/// Loads a folder with arbitrary files. In the data, the content of each file follows a line `=== NAME`; other
/// files are valid.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_policies(data: &[u8]) {
    thread_local! {
        static FOLDER: FuzzFolder = FuzzFolder::new("check");
    }
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"=== ") {
            files.push((std::str::from_utf8(name).unwrap_or_default().trim_end(), Vec::new()));
        } else if let Some((_, content)) = files.last_mut() {
            content.extend_from_slice(line);
        }
    }
    FOLDER.with(|folder| folder.load(&files)).unwrap();
}

impl PolicyFolderCopy {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("qod-gateway-rules-{}-{name}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(root.join("policies")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, folder.0.join(path.file_name().unwrap())).unwrap();
            }
        }
        let schemas = format!("schemas: {}\n", root.join("schemas").display());
        folder.change("gateway.yaml", "schemas: ../schemas\n", &schemas);
        folder
    }

    pub(super) fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(self.0.join(file), text.replacen(from, to, 1)).unwrap();
    }

    pub(super) fn rules(&self, caller: &Caller, before: Option<&PolicySnapshot>) -> PolicySnapshot {
        PolicySnapshot::new(policy::load(&self.0).unwrap(), caller, before).unwrap()
    }
}

impl Drop for PolicyFolderCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn caller() -> Caller {
    Caller { outbound: Outbound::new(), clock: Clock::system(), metrics: Metrics::new().unwrap() }
}

impl FuzzFolder {
    /// Creates a folder in the directory for temporary files.
    pub(crate) fn new(name: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let copy = PolicyFolderCopy::new(&format!("fuzz-{name}"));
        fs::write(copy.0.join(TABLES[0]), CSV).unwrap();
        route::compile(&[copy.0.join(TABLES[0])], &copy.0.join(TABLES[1])).unwrap();
        fs::write(copy.0.join("dialects.yaml"), DIALECTS).unwrap();
        fs::write(copy.0.join("key.pem"), PROOF_KEY).unwrap();
        let tables = "tables: [{ file: ported.csv }, { file: networks.table }]\norder:";
        copy.change("routes.yaml", "order:", tables);
        let names = PolicyFile::ALL.map(PolicyFile::name).into_iter().chain(TABLES);
        let files = names.map(|name| (name.to_owned(), fs::read(copy.0.join(name)).unwrap()));
        let (files, caller) = (files.collect(), caller());
        let before = copy.rules(&caller, None);
        drop(entered);
        Self { copy, caller, before, files, replaced: RefCell::default(), runtime }
    }

    /// Replaces these files of the valid folder and loads it. Returns whether the folder is accepted, or the
    /// rule that the loader violates.
    pub(crate) fn load(&self, files: &[(&str, Vec<u8>)]) -> Result<bool, String> {
        let _entered = self.runtime.enter();
        for name in self.replaced.take() {
            let (_, content) = self.files.iter().find(|(other, _)| *other == name).unwrap();
            fs::write(self.copy.0.join(name), content).unwrap();
        }
        for (name, content) in files {
            if self.files.iter().any(|(other, _)| other == name) {
                fs::write(self.copy.0.join(name), content).unwrap();
                self.replaced.borrow_mut().push((*name).to_owned());
            }
        }
        let mut lines = HashMap::new();
        match policy::load(&self.copy.0) {
            Ok(policy) => {
                look_up_devices(&policy.routes);
                let fixed = self.before.fingerprint.restart_errors(&policy.fingerprint);
                fixed.iter().try_for_each(|fault| self.check(fault, &mut lines))?;
                match PolicySnapshot::new(policy, &self.caller, Some(&self.before)) {
                    Ok(_) => Ok(true),
                    Err(message) if message.is_empty() => Err("no error is reported".to_owned()),
                    Err(_) => Ok(false),
                }
            }
            Err(faults) if faults.is_empty() => Err("no error is reported".to_owned()),
            Err(faults) => {
                faults.iter().try_for_each(|fault| self.check(fault, &mut lines)).map(|()| false)
            }
        }
    }

    /// Returns the folder of the last case, which is not removed.
    #[cfg(test)]
    pub(crate) fn retain(self) -> PathBuf {
        let path = self.copy.0.clone();
        std::mem::forget(self.copy);
        path
    }

    // Checks that an error has a valid position and message. The lines of each file are read once.
    fn check(
        &self,
        fault: &Diagnostic,
        lines: &mut HashMap<PathBuf, Vec<String>>,
    ) -> Result<(), String> {
        let Diagnostic { file, line, column, message } = fault;
        let invalid = |what: &str| Err(format!("{what}: {:.300}", fault.to_string()));
        if !file.starts_with(&self.copy.0) {
            return invalid("the file is outside the folder");
        }
        if message.trim().is_empty() || message.len() > MESSAGE_BYTES_MAX {
            return invalid("the message is empty or too long");
        }
        if message.chars().any(char::is_control) {
            return invalid("the message has control characters");
        }
        let lines = lines.entry(file.clone()).or_insert_with(|| {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            let is_table = TABLES.iter().any(|table| file.ends_with(table));
            let text = if is_table { text } else { text.replace('\r', "\n") };
            text.split('\n').map(str::to_owned).collect()
        });
        let at = usize::try_from(line - 1).ok().and_then(|line| lines.get(line));
        let Some(at) = at else { return invalid("the line does not exist") };
        if *column == 0 || usize::try_from(*column).unwrap() > at.chars().count() + 1 {
            return invalid("the column does not exist");
        }
        Ok(())
    }
}

fn look_up_devices(routes: &Routes) {
    let number = |text: &str| {
        let number: PhoneNumber = text.parse().unwrap();
        Device { phone: Some(Verbatim::from_value(number)), ..Device::default() }
    };
    let public = |address: [u8; 4]| {
        let (public, private) = (address.into(), Some([10, 0, 0, 1].into()));
        let ipv4 = Some(DeviceIpv4::Public { public, private, public_port: None });
        Device { ipv4, ..Device::default() }
    };
    let ipv6 = |net: &str| Device {
        ipv6: Some(Verbatim::from_value(net.parse().unwrap())),
        ..Device::default()
    };
    for device in [number("+4915188888888"), number("+999999999999999"), public([203, 0, 113, 9])]
        .into_iter()
        .chain([public([255; 4]), ipv6("2001:db8:50::/64"), ipv6("::/0")])
    {
        _ = routes.find(&device);
    }
}
