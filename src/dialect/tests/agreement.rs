//! Our verdict on a body, and that of the release's own document.

use std::collections::BTreeSet;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{
    documents::{LIKE, folder},
    *,
};
use crate::json::{Bounds, Json};

const CASES: u32 = 2_000;

/// What a client sends a body for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum For {
    Session,
    Extension,
    Retrieval,
    Profiles,
}

impl For {
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

    fn ours(self, dialect: &Dialect, body: &[u8]) -> Result<(), Malformed> {
        let strictness = &Strictness::default();
        match self {
            Self::Session => dialect.parse_create_session(body, strictness).map(drop),
            Self::Extension => dialect.parse_extend_session(body, strictness).map(drop),
            Self::Retrieval => dialect.parse_retrieve_sessions(body, strictness).map(drop),
            Self::Profiles => dialect.parse_retrieve_profiles(body, strictness).map(drop),
        }
    }

    // A body that its release takes.
    fn sound(self, dialect: &Dialect, wanted: &CreateSession) -> Value {
        let wish = || {
            let body = dialect.create_session_request(wanted, wanted.sink.as_ref());
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        match self {
            Self::Session => wish(),
            Self::Extension => {
                json!({ "requestedAdditionalDuration": wanted.duration_s.min(86_399) })
            }
            Self::Retrieval => json!({ "device": wish()["device"] }),
            Self::Profiles => json!({
                "device": wish()["device"], "name": wanted.qos_profile, "status": "ACTIVE",
            }),
        }
    }
}

/// One thing done to a body.
#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Remove,
    Add(&'static str, Value),
    Double,
}

fn changes() -> impl Strategy<Value = Vec<(Vec<Index>, Change)>> {
    let change = prop_oneof![
        4 => odd().prop_map(Change::Replace),
        2 => Just(Change::Remove),
        2 => (select(arbitrary::NAMES.to_vec()), odd()).prop_map(|(name, odd)| Change::Add(name, odd)),
        1 => Just(Change::Double),
    ];
    vec((vec(any::<Index>(), 1..5), change), 0..3)
}

// The value that a walk down a body ends at, with as many steps as there are levels.
fn changed(body: &mut Value, at: &[Index], change: &Change) {
    let count = match body {
        Value::Object(members) => members.len(),
        Value::Array(elements) => elements.len(),
        _ => 0,
    };
    let Some((index, below)) = at.split_first().filter(|_| count > 0) else {
        return here(body, change);
    };
    let place = index.index(count);
    let last = below.is_empty() && matches!(change, Change::Remove | Change::Double);
    match body {
        Value::Object(members) => {
            let name = members.keys().nth(place).unwrap().clone();
            if last {
                members.remove(&name);
            } else {
                changed(&mut members[&name], below, change);
            }
        }
        Value::Array(elements) if last => match change {
            Change::Double => elements.push(elements[place].clone()),
            _ => drop(elements.remove(place)),
        },
        Value::Array(elements) => changed(&mut elements[place], below, change),
        _ => {}
    }
}

fn here(value: &mut Value, change: &Change) {
    match (change, value) {
        (Change::Add(name, odd), Value::Object(members)) => {
            members.insert((*name).to_owned(), odd.clone());
        }
        (Change::Replace(odd) | Change::Add(_, odd), value) => *value = odd.clone(),
        _ => {}
    }
}

fn odd() -> impl Strategy<Value = Value> {
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

// Why a body is refused that the release's document has nothing against. Each is what a schema cannot tell,
// or what its release says in its text only; all others are differences that nobody has thought of.
const BEYOND_THE_DOCUMENT: [&str; 19] = [
    // Ports are any text in 0.1, and its protocols cannot be told from one another by anybody else.
    "expected ports such as ",
    "expected `ANY`",
    // Whoever passes these on has an operator apply another filter than was asked for, or none.
    "expected no property but ",
    "expected property is missing: ",
    "expected `from` not to be above `to`",
    // Addresses are strings there, or formats that the release's own examples contradict.
    "expected an IPv4 address or network such as ",
    "expected an IPv4 address such as ",
    "expected an IPv6 address or network such as ",
    "expected an IPv6 address such as ",
    "expected an address such as ",
    // A number without its country is another device's elsewhere.
    "expected an international phone number: ",
    // What is called, shown or logged has bounds.
    "expected an absolute http or https URL with a host",
    "expected 1 to 2048 printable characters",
    "expected 1 to 4096 characters, none of them a control",
    "expected 1 to 2048 characters, none of them a control",
    "expected 20 to 256 characters, none of them a control",
    // A sink's token is one that can be shown, and until a time that is to come.
    "expected `ACCESSTOKEN`",
    "expected a time such as ",
    "expected `bearer`",
];

// What is taken although the document is against it: its enum says `bearer`, and its text `Bearer`.
const AGAINST_THE_DOCUMENT: [(&str, &str); 1] =
    [("/sinkCredential/accessTokenType", "expected one of bearer")];

#[test]
fn our_verdict_on_a_body_is_the_documents_but_for_reviewed_reasons() {
    let Some(folder) = folder() else { return };
    // Bodies that both refuse, we take, the document takes, both take.
    let mut met = [0; 4];
    let mut unthought_of = BTreeSet::new();
    for (schema, like) in LIKE {
        let ours = dialect(like);
        for what in For::ALL.into_iter().filter(|what| ours.has(what.operation())) {
            let document = match what {
                For::Profiles => schema.replace("quality-on-demand", "qos-profiles"),
                _ => schema.to_owned(),
            };
            let document = Document::read(&folder.join(format!("{document}.yaml"))).unwrap();
            let official = document.validator(what.component(), Direction::Request).unwrap();
            let cases = (arbitrary::wanted(like), changes());
            let mut runner = TestRunner::default();
            for _ in 0..CASES {
                let (wanted, changes) = cases.new_tree(&mut runner).unwrap().current();
                let mut body = what.sound(ours, &wanted);
                for (at, change) in &changes {
                    changed(&mut body, at, change);
                }
                let text = body.to_string();
                let Ok(json) = Json::parse(text.as_bytes(), &Bounds::default()) else { continue };
                let theirs = official.faults(&json);
                let told = what.ours(ours, text.as_bytes());
                met[usize::from(theirs.is_empty()) * 2 + usize::from(told.is_ok())] += 1;
                let differ: Vec<String> = match told {
                    Ok(()) => theirs
                        .iter()
                        .filter(|theirs| {
                            !AGAINST_THE_DOCUMENT
                                .contains(&(theirs.pointer.as_str(), theirs.reason.as_str()))
                        })
                        .map(|theirs| format!("taken against {theirs:?}"))
                        .collect(),
                    Err(told) if theirs.is_empty() => told
                        .faults
                        .iter()
                        .filter(|fault| {
                            !BEYOND_THE_DOCUMENT.iter().any(|known| fault.reason.starts_with(known))
                        })
                        .map(|fault| format!("refused: {} {}", fault.pointer, fault.reason))
                        .collect(),
                    Err(_) => Vec::new(),
                };
                unthought_of.extend(
                    differ.into_iter().map(|differ| format!("{like} {what:?} {differ}: {text}")),
                );
            }
        }
    }
    let some: Vec<&String> = unthought_of.iter().take(20).collect();
    assert!(unthought_of.is_empty(), "{}: {some:#?}", unthought_of.len());
    assert!(met[0].min(met[2]).min(met[3]) > 1_000, "seldom met: {met:?}");
}
