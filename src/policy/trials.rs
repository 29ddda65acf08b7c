//! `tests/*.yaml`, beside the policies: what must come of a request by them. `check` alone reads them;
//! they are no part of what is served.

use std::{
    fs,
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    PolicyFile, dialects_of,
    fault::{Fault, expected_one_of},
    known::Known,
    operators::Identifier,
    question::{About, Question},
    shape,
    source::{Source, Spot},
    words::{FilePath, Part, Said, Seconds, TheirProfile},
    written::yaml_files,
};
use crate::qod::{Device, IdentifierKind, Kind, OperatorId};

const FOLDER: &str = "tests";

// Of a body of its own; what the gateway reads of one is less.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Tests of the policies.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["tests"]))]
struct File {
    /// The tests; each stands alone.
    #[schemars(length(min = 1))]
    tests: Vec<Part<Entry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What is right, in a sentence.
    #[schemars(length(min = 1))]
    name: String,
    /// Who asks.
    client: String,
    /// What it speaks.
    dialect: String,
    /// Where it calls from.
    from: Option<Said<IpAddr>>,
    /// Only where this device leads.
    device: Option<Said<Device>>,
    /// Or the body of a create, as the client would send it.
    body: Option<Map<String, Value>>,
    /// Or a file with such a body.
    body_file: Option<Said<FilePath>>,
    /// What must come of it.
    expect: Expect,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// This operator is asked.
    operator: Option<String>,
    /// It is found by this identifier.
    by: Option<Identifier>,
    /// Its API is of this dialect.
    dialect: Option<String>,
    /// It calls the profile so.
    profile: Option<Said<TheirProfile>>,
    /// It is asked for a session of this time.
    duration: Option<Said<Seconds>>,
    /// Or the client is told no.
    refused: Option<Refused>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct Refused {
    /// The status.
    #[schemars(range(min = 400, max = 599))]
    status: Option<u16>,
    /// The code, in the client's dialect.
    #[schemars(length(min = 1))]
    code: Option<String>,
    /// The kind of no, as metrics have it.
    reason: Option<String>,
}

/// A test: a question, and what must come of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The file it stands in.
    pub file: PathBuf,
    /// And where, from 1.
    pub line: u64,
    /// What is right, in a sentence.
    pub name: String,
    /// What is asked.
    pub question: Question,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of it. What is not said may be anything.
#[derive(Clone, Debug)]
pub enum Expected {
    /// An operator is asked.
    Asked(Asked),
    /// The client is told no.
    Refused(Answered),
}

/// Who is asked, and what for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The operator.
    pub operator: OperatorId,
    /// What it is found by.
    pub by: Option<IdentifierKind>,
    /// The dialect of its API.
    pub dialect: Option<String>,
    /// Its own name for the profile.
    pub profile: Option<String>,
    /// For so long, in seconds.
    pub duration_s: Option<u32>,
}

/// How it is told no.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The code, in the client's dialect.
    pub code: Option<String>,
    /// What kind of no it is.
    pub reason: Option<Kind>,
}

/// The JSON Schema of a file of tests; editors can complete by it.
pub fn trials_schema_text() -> String {
    format!("{:#}", schema())
}

fn schema() -> Value {
    shape::schema_of::<File>()
}

/// Reads the tests of a folder that is sound, file by file in the order of their names. There may be
/// none.
///
/// # Errors
/// All faults of all files of tests.
pub fn load_trials(folder: &Path) -> Result<Vec<Trial>, Vec<Fault>> {
    let mut faults = Vec::new();
    let dialects = dialects_of(folder, &mut faults);
    let mut read = |file: PolicyFile| file.read(folder, &mut faults);
    let (operators, clients) = (read(PolicyFile::Operators), read(PolicyFile::Clients));
    let known = Known::new(folder, &dialects, operators.as_ref(), None, clients.as_ref());
    let mut trials = Vec::new();
    for path in yaml_files(&folder.join(FOLDER)) {
        if let Some(source) = Source::read(path.clone(), &schema(), &mut faults) {
            let file = source.typed::<File>(&mut faults);
            trials.extend(file.judge(&path, source.root(), &known, &mut faults));
        }
    }
    if faults.is_empty() { Ok(trials) } else { Err(faults) }
}

impl File {
    fn judge(
        self,
        file: &Path,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Vec<Trial> {
        let trials = self.tests.into_iter().enumerate().filter_map(|(index, entry)| {
            let at = root.key("tests").item(index);
            let entry = at.read(entry, faults)?;
            let alone = entry.device.is_some();
            let expected = entry.expect.judge(at.key("expect"), alone, known, faults);
            if matches!(expected, Some(Expected::Asked(_))) {
                // A stranger may well be refused, but is never served.
                known.client(&entry.client, at.key("client"), faults);
            }
            known.dialect(&entry.dialect, at.key("dialect"), faults);
            let about = about(entry.device, entry.body, entry.body_file, at, known, faults)?;
            let question = Question {
                client: entry.client.as_str().into(),
                dialect: entry.dialect,
                about,
                from: entry.from.map(|address| address.0),
                reads_tables: false,
            };
            let (file, line) = (file.to_owned(), at.line());
            Some(Trial { file, line, name: entry.name, question, expected: expected? })
        });
        trials.collect()
    }
}

fn about(
    device: Option<Said<Device>>,
    body: Option<Map<String, Value>>,
    file: Option<Said<FilePath>>,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<About> {
    match (device, body, file) {
        (Some(device), None, None) => Some(About::Device(Box::new(device.0))),
        (None, Some(body), None) => Some(About::Create(Value::Object(body).to_string().into())),
        (None, None, Some(file)) => {
            let at = at.key("body_file");
            let path = known.file(&file.0, at, faults)?;
            let body = body_of(&path);
            body.map_err(|message| faults.push(at.fault(message))).ok().map(About::Create)
        }
        _ => {
            let message = "expected one of `device`, `body` and `body_file`, and only one";
            faults.push(at.fault(message));
            None
        }
    }
}

fn body_of(path: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut body))
        .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    if u64::try_from(read).is_ok_and(|read| read <= BODY_BYTES_MAX) {
        Ok(body)
    } else {
        Err(format!("`{}` is larger than {} MiB", path.display(), BODY_BYTES_MAX >> 20))
    }
}

impl Expect {
    fn judge(
        self,
        at: Spot<'_>,
        device_alone: bool,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Expected> {
        let Self { operator, by, dialect, profile, duration, refused } = self;
        match (operator, refused) {
            (Some(operator), None) => {
                known.operator(&operator, at.key("operator"), faults);
                if let Some(dialect) = &dialect {
                    known.dialect(dialect, at.key("dialect"), faults);
                }
                for key in ["profile", "duration"] {
                    if device_alone && at.keys().any(|said| said == key) {
                        let message = "a device alone has no session: give a `body`";
                        faults.push(at.name(key).fault(message));
                    }
                }
                Some(Expected::Asked(Asked {
                    operator: operator.as_str().into(),
                    by: by.map(Identifier::setting),
                    dialect,
                    profile: profile.map(|name| name.0.0),
                    duration_s: duration.map(|time| time.0.0),
                }))
            }
            (None, Some(refused)) => {
                for key in at.keys().filter(|key| *key != "refused") {
                    let message = format!(
                        "`{key}` is of an operator that is asked: not expected beside `refused`"
                    );
                    faults.push(at.name(key).fault(message));
                }
                Some(Expected::Refused(refused.judge(at.key("refused"), faults)))
            }
            _ => {
                faults.push(at.fault("expected either `operator` or `refused`"));
                None
            }
        }
    }
}

impl Refused {
    fn judge(self, at: Spot<'_>, faults: &mut Vec<Fault>) -> Answered {
        let reason = self.reason.and_then(|name| {
            let reason = Kind::named(&name);
            if reason.is_none() {
                let expected = expected_one_of(Some(&name), &Kind::ALL.map(Kind::name));
                faults.push(at.key("reason").fault(expected));
            }
            reason
        });
        Answered { status: self.status, code: self.code, reason }
    }
}
