//! Compares the validation of bodies with the release's own document.

use std::collections::BTreeSet;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{
    documents::{documents, folder},
    *,
};
use crate::json::{Json, JsonLimits};

const CASES: u32 = 2_000;

/// The operation that a body is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum BodyOperation {
    Session,
    Extension,
    Retrieval,
    Profiles,
}

impl BodyOperation {
    const ALL: [Self; 4] = [Self::Session, Self::Extension, Self::Retrieval, Self::Profiles];

    fn component(self) -> &'static str {
        match self {
            Self::Session => "CreateSession",
            Self::Extension => "ExtendSessionDuration",
            Self::Retrieval => "RetrieveSessionsInput",
            Self::Profiles => "QosProfileDeviceRequest",
        }
    }

    fn operation(self) -> Operation {
        match self {
            Self::Session => Operation::CreateSession,
            Self::Extension => Operation::ExtendSession,
            Self::Retrieval => Operation::RetrieveSessions,
            Self::Profiles => Operation::RetrieveQosProfiles,
        }
    }

    fn validate(self, dialect: &Dialect, body: &[u8]) -> Result<(), MalformedRequest> {
        let strictness = &Strictness::default();
        match self {
            Self::Session => dialect.parse_create_session(body, strictness).map(drop),
            Self::Extension => dialect.parse_extend_session(body, strictness).map(drop),
            Self::Retrieval => dialect.parse_retrieve_sessions(body, strictness).map(drop),
            Self::Profiles => dialect.parse_retrieve_profiles(body, strictness).map(drop),
        }
    }

    // A body that is valid in the release.
    fn valid_body(self, dialect: &Dialect, wanted: &CreateRequest) -> Value {
        let create = || {
            let body = dialect.create_session_request(wanted, wanted.sink.as_ref());
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        match self {
            Self::Session => create(),
            Self::Extension => {
                json!({ "requestedAdditionalDuration": wanted.duration_s.min(86_399) })
            }
            Self::Retrieval => json!({ "device": create()["device"] }),
            Self::Profiles => json!({
                "device": create()["device"], "name": wanted.qos_profile, "status": "ACTIVE",
            }),
        }
    }
}

/// A single change of a body.
#[derive(Clone, Debug)]
enum BodyChange {
    Replace(Value),
    Remove,
    Add(&'static str, Value),
    Double,
}

fn changes() -> impl Strategy<Value = Vec<(Vec<Index>, BodyChange)>> {
    let change = prop_oneof![
        4 => unusual_value().prop_map(BodyChange::Replace),
        2 => Just(BodyChange::Remove),
        2 => (select(arbitrary::NAMES.to_vec()), unusual_value()).prop_map(|(name, value)| BodyChange::Add(name, value)),
        1 => Just(BodyChange::Double),
    ];
    vec((vec(any::<Index>(), 1..5), change), 0..3)
}

// Changes the value at the end of a path; the path has one index per level.
fn changed(body: &mut Value, at: &[Index], change: &BodyChange) {
    let count = match body {
        Value::Object(members) => members.len(),
        Value::Array(elements) => elements.len(),
        _ => 0,
    };
    let Some((index, below)) = at.split_first().filter(|_| count > 0) else {
        return apply(body, change);
    };
    let position = index.index(count);
    let last = below.is_empty() && matches!(change, BodyChange::Remove | BodyChange::Double);
    match body {
        Value::Object(members) => {
            let name = members.keys().nth(position).unwrap().clone();
            if last {
                members.remove(&name);
            } else {
                changed(&mut members[&name], below, change);
            }
        }
        Value::Array(elements) if last => match change {
            BodyChange::Double => elements.push(elements[position].clone()),
            _ => drop(elements.remove(position)),
        },
        Value::Array(elements) => changed(&mut elements[position], below, change),
        _ => {}
    }
}

fn apply(value: &mut Value, change: &BodyChange) {
    match (change, value) {
        (BodyChange::Add(name, new), Value::Object(members)) => {
            members.insert((*name).to_owned(), new.clone());
        }
        (BodyChange::Replace(new) | BodyChange::Add(_, new), value) => *value = new.clone(),
        _ => {}
    }
}

fn unusual_value() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "x",
        "QOS_E",
        "ACTIVE",
        "ANY",
        "TCP",
        "5010-5020",
        "+4915112345678",
        "4915112345678",
        "0049151",
        "198.51.100.7",
        "198.51.100.0/24",
        "198.51.100.7/33",
        "010.1.2.3",
        "2001:db8::1",
        "2001:DB8::1",
        "2001:db8::/32",
        "::ffff:1.2.3.4",
        "https://app.example.com/cb",
        "http://a.example",
        "ftp://a.example",
        "https://u:p@a.example",
        "not a url",
        "PLAIN",
        "ACCESSTOKEN",
        "PRIVATE_KEY_JWT",
        "bearer",
        "Bearer",
        "2030-01-01T00:00:00Z",
        "1930-01-01T00:00:00Z",
        "user@example.com",
        "line\nbreak",
        "c8974e592c2fa383d4a3960714",
    ];
    let mut texts: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    texts.extend([json!("x".repeat(257)), json!("x".repeat(2_049)), json!("x".repeat(4_097))]);
    texts.push(json!(format!("https://a.example/{}", "x".repeat(2_048))));
    prop_oneof![
        3 => select(texts),
        1 => select(vec![json!(null), json!(true), json!({}), json!([]), json!([1]), json!({ "x": 1 })]),
        1 => (-2..70_000_i64).prop_map(|number| json!(number)),
        1 => select(vec![
            json!(0), json!(1), json!(65_535), json!(65_536), json!(1.5), json!(60.0), json!(86_399),
            json!(86_400), json!(86_401), json!(2_147_483_647), json!(2_147_483_648_u64), json!(i64::MAX),
        ]),
        1 => select(vec![
            json!({ "ports": [80] }), json!({ "ports": [0] }), json!({ "from": 9, "to": 5 }),
            json!({ "ranges": [{ "from": 5, "to": 9 }] }), json!({ "ranges": [{ "from": 9, "to": 5 }] }),
            json!({ "ipv4Address": "198.51.100.7" }), json!({ "ipAddresses": ["198.51.100.7"] }),
            json!({ "phoneNumber": "+4915112345678" }), json!({ "publicAddress": "198.51.100.7" }),
            json!({ "publicAddress": "198.51.100.7", "publicPort": 0 }),
            json!({ "credentialType": "ACCESSTOKEN" }), json!({ "notificationUrl": "https://a.example" }),
        ]),
    ]
}

// Reasons to reject a body that is valid according to the release's document. A schema cannot
// express them, or the release states them in its text only. Any other difference fails the test.
const BEYOND_THE_DOCUMENT: [&str; 19] = [
    // In 0.1 ports are any text, and other releases cannot represent its protocols.
    "expected ports such as ",
    "expected `ANY`",
    // If these were forwarded, the operator would apply another filter than requested, or none.
    "unexpected property; expected only ",
    "expected property is missing: ",
    "expected `from` not to be above `to`",
    // Documents define addresses as strings, or by formats that their own examples violate.
    "expected an IPv4 address or network such as ",
    "expected an IPv4 address such as ",
    "expected an IPv6 address or network such as ",
    "expected an IPv6 address such as ",
    "expected an IPv4 or IPv6 address such as ",
    // A phone number without a country code is ambiguous.
    "expected an international phone number: ",
    // URLs, identifiers and tokens have bounds.
    "expected an absolute http or https URL with a host",
    "expected 1 to 2048 printable characters",
    "expected 1 to 4096 characters without control characters",
    "expected 1 to 2048 characters without control characters",
    "expected 20 to 256 characters without control characters",
    // The credential of a sink is an access token with an expiry.
    "expected `ACCESSTOKEN`",
    "expected a time such as ",
    "expected `bearer`",
];

// Violations that are accepted: the enum has `bearer`, but the text has `Bearer`.
const AGAINST_THE_DOCUMENT: [(&str, &str); 1] =
    [("/sinkCredential/accessTokenType", "expected one of bearer")];

#[test]
fn validation_agrees_with_the_document_except_for_reviewed_reasons() {
    let Some(folder) = folder() else { return };
    // Bodies rejected by both, accepted by the gateway only, by the document only, by both.
    let mut met = [0; 4];
    let mut unreviewed = BTreeSet::new();
    for (schema, like) in documents() {
        let ours = dialect(like);
        for what in BodyOperation::ALL.into_iter().filter(|what| ours.has(what.operation())) {
            let document = match what {
                BodyOperation::Profiles => schema.replace("quality-on-demand", "qos-profiles"),
                _ => schema.clone(),
            };
            let document = OpenApiDocument::read(&folder.join(format!("{document}.yaml"))).unwrap();
            let official = document.validator(what.component(), Direction::Request).unwrap();
            let cases = (arbitrary::create_request(like), changes());
            let mut runner = TestRunner::default();
            for _ in 0..CASES {
                let (wanted, changes) = cases.new_tree(&mut runner).unwrap().current();
                let mut body = what.valid_body(ours, &wanted);
                for (at, change) in &changes {
                    changed(&mut body, at, change);
                }
                let text = body.to_string();
                let Ok(json) = Json::parse(text.as_bytes(), &JsonLimits::default()) else {
                    continue;
                };
                let theirs = official.violations(&json);
                let result = what.validate(ours, text.as_bytes());
                met[usize::from(theirs.is_empty()) * 2 + usize::from(result.is_ok())] += 1;
                let differ: Vec<String> = match result {
                    Ok(()) => theirs
                        .iter()
                        .filter(|theirs| {
                            !AGAINST_THE_DOCUMENT
                                .contains(&(theirs.pointer.as_str(), theirs.reason.as_str()))
                        })
                        .map(|theirs| format!("accepted against {theirs:?}"))
                        .collect(),
                    Err(result) if theirs.is_empty() => result
                        .errors
                        .iter()
                        .filter(|error| {
                            !BEYOND_THE_DOCUMENT.iter().any(|known| error.reason.starts_with(known))
                        })
                        .map(|error| format!("rejected: {} {}", error.pointer, error.reason))
                        .collect(),
                    Err(_) => Vec::new(),
                };
                unreviewed.extend(
                    differ.into_iter().map(|differ| format!("{like} {what:?} {differ}: {text}")),
                );
            }
        }
    }
    let some: Vec<&String> = unreviewed.iter().take(20).collect();
    assert!(unreviewed.is_empty(), "{}: {some:#?}", unreviewed.len());
    assert!(met[0].min(met[2]).min(met[3]) > 1_000, "too few cases: {met:?}");
}
