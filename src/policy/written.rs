//! What the policies say, letter by letter: by that it is known whether what was built from an earlier
//! reading still holds, and whether a process that runs can follow a later one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{PolicyFile, fault::Fault, settings::OperatorSettings, source::Spot};
use crate::{
    qod::{Device, FinderId, OperatorId},
    route::{Match, Routes},
};

/// What is set up once and for all when a process starts (in `gateway.yaml`).
const FIXED: [&str; 8] = [
    "listeners",
    "admin",
    "trusted_proxies",
    "callbacks",
    "notifications",
    "store",
    "bounds",
    "drain",
];
/// What `clients.yaml` says of others than those who vouch for clients…
const NOT_OF_IDENTITY: [&str; 4] = ["scope", "device_limit", "defaults", "clients"];
/// …and what it says among a client's terms of how he proves himself.
const OF_CLIENT: [&str; 2] = ["proof_key_file", "proof_everywhere"];

/// A reading of the policies, by what was read: the same letters, the same version. It is the
/// beginning of a SHA-256 over all files, documents and tables, 16 hexadecimal digits of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Arc<str>);

/// One reading, letter by letter.
pub struct Written {
    /// Which one it is.
    pub version: Version,
    dialects: Hash,
    identity: Value,
    operators: BTreeMap<OperatorId, Value>,
    finders: BTreeMap<FinderId, Value>,
    // The lines of what has a name.
    lines: HashMap<(PolicyFile, String), u64>,
    routes: Vec<(Match, u64)>,
    fixed: Vec<Fixed>,
}

struct Fixed {
    key: &'static str,
    says: Value,
    // Told if another reading says something else.
    fault: Fault,
}

pub(super) type Hash = [u8; 32];

/// The files that are looked into, whole.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) gateway: Spot<'a>,
    pub(super) operators: Spot<'a>,
    pub(super) routes: Spot<'a>,
    pub(super) clients: Spot<'a>,
    pub(super) profiles: Spot<'a>,
}

impl<'a> Said<'a> {
    /// Those who are asked where a device leads, by name.
    pub(super) fn finders(self) -> impl Iterator<Item = (String, Spot<'a>)> {
        self.routes.key("finders").items().filter_map(|at| {
            let name = at.key("name").to_json();
            Some((name.as_str()?.to_owned(), at))
        })
    }
}

impl Version {
    fn of(parts: &[Hash]) -> Self {
        let hash = Sha256::digest(parts.concat());
        let head = hash.iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
        Self(format!("{head:016x}").into())
    }

    /// Its digits.
    pub const fn digits(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Written {
    /// `files` and `tables` are what these are by [`hash_of_files`] and [`hash_of_tables`].
    pub(super) fn new(
        (files, tables): (Hash, Hash),
        schemas: &Path,
        said: Said<'_>,
        operators: &[OperatorSettings],
        routes: Vec<(Match, u64)>,
    ) -> Self {
        let Said { gateway, clients, .. } = said;
        let documents = hash_of(documents(schemas));
        let fault = |at: Spot<'_>, key| {
            at.name(key).fault(format!(
                "`{key}` cannot be changed while the gateway runs: restart it, or put it back"
            ))
        };
        let fixed = FIXED.map(|key| Fixed {
            key,
            says: gateway.key(key).to_json(),
            fault: fault(gateway, key),
        });
        Self {
            version: Version::of(&[files, documents, tables]),
            dialects: documents,
            identity: of_identity(clients),
            operators: operators
                .iter()
                .map(|one| (one.id.clone(), of_operator(said, one)))
                .collect(),
            finders: said
                .finders()
                .map(|(name, at)| (FinderId::from(name.as_str()), at.to_json()))
                .collect(),
            lines: lines(said),
            routes,
            fixed: fixed.into(),
        }
    }

    /// What a process that was started by this reading cannot follow of a later one.
    pub fn not_followed(&self, later: &Self) -> Vec<Fault> {
        let others = later.fixed.iter().filter(|part| {
            !self.fixed.iter().any(|own| own.key == part.key && own.says == part.says)
        });
        others.map(|part| part.fault.clone()).collect()
    }

    /// Where a client, operator, profile or finder stands in its file: `clients.yaml:12`.
    pub fn place_of(&self, file: PolicyFile, name: &str) -> Option<String> {
        let line = self.lines.get(&(file, name.to_owned()))?;
        Some(format!("{}:{line}", file.name()))
    }

    /// The routes that lead somewhere from an identifier of this device, each with where it stands,
    /// the most specific of each kind first.
    pub fn routes_of<'s>(&'s self, device: &Device) -> Vec<(&'s Match, String)> {
        let matching = self.routes.iter().filter(|(matching, _)| matching.is_of(device));
        let mut routes: Vec<_> = matching.collect();
        routes.sort_by_key(|(matching, _)| Reverse(matching.specificity()));
        let place = |line: &u64| format!("{}:{line}", PolicyFile::Routes.name());
        routes.into_iter().map(|(matching, line)| (matching, place(line))).collect()
    }

    /// The operators that are spoken of.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorId> {
        self.operators.keys()
    }

    /// Are the dialects the same?
    pub fn same_dialects(&self, other: &Self) -> bool {
        self.dialects == other.dialects
    }

    /// Are the same tokens believed?
    pub fn same_identity(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Is all that is said of an operator the same?
    pub fn same_operator(&self, other: &Self, id: &OperatorId) -> bool {
        let (own, others) = (self.operators.get(id), other.operators.get(id));
        own.is_some() && own == others && self.same_dialects(other)
    }

    /// Is all that is said of a finder the same?
    pub fn same_finder(&self, other: &Self, id: &FinderId) -> bool {
        let (own, others) = (self.finders.get(id), other.finders.get(id));
        own.is_some() && own == others
    }
}

/// The policy files of a folder, whether or not they are there.
pub fn policy_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    PolicyFile::ALL.iter().map(|file| folder.join(file.name()))
}

/// The documents of a schemas folder. All of them: which of them count is for the dialects to say.
pub fn documents(schemas: &Path) -> impl Iterator<Item = PathBuf> {
    yaml_files(schemas)
}

/// The YAML files of a folder, by name; none, if there is no such folder.
pub(super) fn yaml_files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths.into_iter()
}

/// Without the letters: fixed tokens stand among them.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What there is in the files of a folder.
pub(super) fn hash_of_files(folder: &Path) -> Hash {
    hash_of(policy_files(folder))
}

/// What there is in the tables of routes.
pub(super) fn hash_of_tables(routes: &Routes) -> Hash {
    let mut whole = Sha256::new();
    for table in routes.files() {
        whole.update(table.content());
    }
    whole.finalize().into()
}

fn hash_of(paths: impl Iterator<Item = PathBuf>) -> Hash {
    let mut whole = Sha256::new();
    for path in paths {
        let mut one = Sha256::new();
        // What cannot be read is told where it is read for its sense.
        let found = fs::File::open(&path).and_then(|mut file| io::copy(&mut file, &mut one));
        // Where the folder is means nothing: the same policies are the same on every machine.
        whole.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        whole.update([u8::from(found.is_ok())]);
        whole.update(one.finalize());
    }
    whole.finalize().into()
}

fn of_identity(clients: Spot<'_>) -> Value {
    let shared = clients.keys().filter(|key| !NOT_OF_IDENTITY.contains(key));
    let shared = shared.map(|key| (key.to_owned(), clients.key(key).to_json()));
    let all = clients.key("clients");
    let proved = all.keys().map(|client| {
        let said = OF_CLIENT.map(|key| all.key(client).key(key).to_json());
        (client.to_owned(), Value::from_iter(said))
    });
    Value::Array(vec![shared.collect(), proved.collect()])
}

fn lines(said: Said<'_>) -> HashMap<(PolicyFile, String), u64> {
    let named = [
        (PolicyFile::Clients, said.clients.key("clients")),
        (PolicyFile::Operators, said.operators.key("operators")),
        (PolicyFile::Profiles, said.profiles.key("profiles")),
    ];
    let lines = named.into_iter().flat_map(|(file, at)| {
        at.keys().map(move |name| ((file, name.to_owned()), at.name(name).line()))
    });
    let finders = said.finders().map(|(name, at)| ((PolicyFile::Routes, name), at.line()));
    lines.chain(finders).collect()
}

// Its entry, and what the profiles are called there.
fn of_operator(said: Said<'_>, operator: &OperatorSettings) -> Value {
    let names = operator.fitting.qos_profiles.iter();
    let names: Value = names.map(|(own, theirs)| (own.clone(), theirs.as_str())).collect();
    Value::Array(vec![said.operators.key("operators").key(&operator.id.0).to_json(), names])
}
