//! Policy tests (`tests/*.yaml` and `tests/*.yml` in the policy folder): the expected outcome of requests. Only `check`
//! reads them; the running gateway does not.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    LoadedPolicy,
    diagnostic::{Diagnostic, ErrorList, expected_one_of, quoted},
    explain_request::{ExplainRequest, ExplainSubject},
    fingerprint::yaml_files,
    scalars::{FilePath, OperatorProfileName, Scalar, Section, WholeSeconds},
    shape,
    source::PolicySource,
    validation::{References, Validation},
};
use crate::{
    qod::{Device, IdentifierKind, OperatorId, ProblemKind},
    reloadable::read_regular,
};

/// The folder of the policy tests, in the policy folder.
pub(super) const FOLDER: &str = "tests";

// The maximum size of a body file. The gateway accepts less.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Policy tests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["tests"]))]
struct PolicyTestsFile {
    /// The tests. They are independent of each other.
    #[schemars(length(min = 1))]
    tests: Vec<Section<PolicyTestEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicyTestEntry {
    /// A sentence that describes the expected behavior.
    #[schemars(length(min = 1))]
    name: String,
    /// The client of the request.
    client: String,
    /// The dialect of the request.
    dialect: String,
    /// The source address of the request.
    source_address: Option<Scalar<IpAddr>>,
    /// Look up the operator of this device only.
    device: Option<Scalar<Device>>,
    /// The body of a create request, as the client would send it.
    body: Option<Map<String, Value>>,
    /// The file of a body, instead of `body`.
    body_file: Option<Scalar<FilePath>>,
    /// The expected outcome.
    expect: ExpectEntry,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExpectEntry {
    /// The expected operator.
    operator: Option<String>,
    /// The identifier that selects the operator.
    matched_by: Option<IdentifierKind>,
    /// The dialect of the operator.
    dialect: Option<String>,
    /// The name of the profile at the operator.
    profile: Option<Scalar<OperatorProfileName>>,
    /// The duration of the session at the operator.
    duration: Option<Scalar<WholeSeconds>>,
    /// The expected rejection, instead of an operator.
    rejected: Option<RejectedEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct RejectedEntry {
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: Option<u16>,
    /// The error code, in the dialect of the client.
    #[schemars(length(min = 1))]
    code: Option<String>,
    /// The kind of rejection, as in metrics.
    reason: Option<String>,
}

/// A policy test: a request and its expected outcome.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// The file of the test.
    pub file: PathBuf,
    /// The line of the test, counted from 1.
    pub line: u64,
    /// A sentence that describes the expected behavior.
    pub name: String,
    /// The request.
    pub request: ExplainRequest,
    /// The expected outcome.
    pub expected: TestExpectation,
}

/// The expected outcome of a policy test. Values that are not set are not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestExpectation {
    /// The request is sent to an operator.
    Forwarded(ExpectedCall),
    /// The request is rejected.
    Rejected(ExpectedRejection),
}

/// An expected request to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCall {
    /// The operator.
    pub operator: OperatorId,
    /// The identifier that selects the operator.
    pub matched_by: Option<IdentifierKind>,
    /// The dialect of the operator.
    pub dialect: Option<String>,
    /// The name of the profile at the operator.
    pub profile: Option<String>,
    /// The duration of the session, in seconds.
    pub duration_s: Option<u32>,
}

/// An expected rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedRejection {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error code, in the dialect of the client.
    pub code: Option<String>,
    /// The kind of rejection.
    pub reason: Option<ProblemKind>,
}

/// Returns the JSON Schema of a policy test file. Editors use it for completion.
pub fn policy_tests_schema_text() -> String {
    format!("{:#}", schema())
}

fn schema() -> Value {
    shape::schema_of::<PolicyTestsFile>()
}

/// Reads the policy tests of a valid folder, sorted by file name. There may be none.
///
/// # Errors
/// Returns all errors of all policy test files.
pub fn load_policy_tests(loaded: &LoadedPolicy) -> Result<Vec<PolicyTest>, Vec<Diagnostic>> {
    let LoadedPolicy { policy, folder, sources } = loaded;
    let errors = ErrorList::default();
    let references = References::new(folder, &policy.dialects, sources, &[], &errors);
    let mut tests = Vec::new();
    for path in yaml_files(&folder.join(FOLDER)) {
        let source = PolicySource::read(path.clone(), &schema(), &errors);
        if let Some(at) = references.validation(source.as_ref()) {
            tests.extend(at.deserialize::<PolicyTestsFile>().validate(&path, at));
        }
    }
    if errors.len() == 0 { Ok(tests) } else { Err(errors.into_sorted()) }
}

impl PolicyTestsFile {
    fn validate(self, file: &Path, root: Validation<'_>) -> Vec<PolicyTest> {
        let tests = root.key("tests").items(self.tests).filter_map(|(at, entry)| {
            let device_only = entry.device.is_some();
            let expected = entry.expect.validate(at.key("expect"), device_only);
            if matches!(expected, Some(TestExpectation::Forwarded(_))) {
                // Requests of unknown clients are never forwarded. A rejection of one may be tested.
                at.key("client").check_client(&entry.client);
            }
            at.key("dialect").check_dialect(&entry.dialect);
            let subject = explain_subject(entry.device, entry.body, entry.body_file, at)?;
            let request = ExplainRequest {
                client: entry.client.as_str().into(),
                dialect: entry.dialect,
                subject,
                source_address: entry.source_address.map(|address| address.0),
                reads_tables: false,
            };
            let (file, line) = (file.to_owned(), at.line());
            Some(PolicyTest { file, line, name: entry.name, request, expected: expected? })
        });
        tests.collect()
    }
}

fn explain_subject(
    device: Option<Scalar<Device>>,
    body: Option<Map<String, Value>>,
    file: Option<Scalar<FilePath>>,
    at: Validation<'_>,
) -> Option<ExplainSubject> {
    match (device, body, file) {
        (Some(device), None, None) => Some(ExplainSubject::Device(Box::new(device.0))),
        (None, Some(body), None) => {
            Some(ExplainSubject::Create(Value::Object(body).to_string().into()))
        }
        (None, None, Some(file)) => {
            let at = at.key("body_file");
            let path = at.check_file(&file.0)?;
            at.ok(read_body(&path)).map(ExplainSubject::Create)
        }
        _ => {
            let message = "expected exactly one of `device`, `body` and `body_file`";
            at.report(message);
            None
        }
    }
}

fn read_body(path: &Path) -> Result<Vec<u8>, String> {
    read_regular(path, BODY_BYTES_MAX)
        .map_err(|error| format!("failed to read `{}`: {error}", path.display()))
}

impl ExpectEntry {
    fn validate(self, at: Validation<'_>, device_only: bool) -> Option<TestExpectation> {
        let Self { operator, matched_by, dialect, profile, duration, rejected } = self;
        match (operator, rejected) {
            (Some(operator), None) => {
                at.key("operator").check_operator(&operator);
                if let Some(dialect) = &dialect {
                    at.key("dialect").check_dialect(dialect);
                }
                if device_only {
                    let message =
                        "this key requires `body` or `body_file`: a `device` has no session";
                    at.reject_keys(["profile", "duration"], message);
                }
                Some(TestExpectation::Forwarded(ExpectedCall {
                    operator: operator.as_str().into(),
                    matched_by,
                    dialect,
                    profile: profile.map(|name| name.0.0),
                    duration_s: duration.map(|time| time.0.0),
                }))
            }
            (None, Some(rejection)) => {
                for key in at.keys().filter(|key| *key != "rejected") {
                    let message = format!("`{key}` cannot be combined with `rejected`");
                    at.key_name(key).report(message);
                }
                Some(TestExpectation::Rejected(rejection.validate(at.key("rejected"))))
            }
            _ => {
                at.report("expected either `operator` or `rejected`");
                None
            }
        }
    }
}

impl RejectedEntry {
    fn validate(self, at: Validation<'_>) -> ExpectedRejection {
        let reason = self.reason.and_then(|name| {
            let reason = ProblemKind::from_name(&name);
            if reason.is_none() {
                let message = format!(
                    "unknown rejection reason {}; {}",
                    quoted(&name),
                    expected_one_of(Some(&name), &ProblemKind::ALL.map(ProblemKind::name))
                );
                at.key("reason").report(message);
            }
            reason
        });
        ExpectedRejection { status: self.status, code: self.code, reason }
    }
}
