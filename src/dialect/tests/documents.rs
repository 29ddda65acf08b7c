//! CAMARA's own documents, dropped in as they are. They are not ours to ship: the folder that has them
//! is named by `QOD_CAMARA_DOCUMENTS`; without, this is left out.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::json::{Bounds, Json};

// Which dialect the session document of a release is put under.
const LIKE: [(&str, &str); 9] = [
    ("qod-combined-0.1.0", "camara-0.1.0"),
    ("quality-on-demand-0.8.0", "camara-0.8.0"),
    ("quality-on-demand-0.8.1", "camara-0.8.1"),
    ("quality-on-demand-0.9.0", "camara-0.9.0"),
    ("quality-on-demand-0.10.1", "camara-0.10.1"),
    ("quality-on-demand-0.11.1", "camara-0.11.1"),
    ("quality-on-demand-1.0.0", "camara-1.0.0"),
    ("quality-on-demand-1.1.0", "camara-1.1.0"),
    ("quality-on-demand-1.2.0-rc.3", "camara-1.2.0-rc.3"),
];

// All request bodies that a document shows for `POST /sessions`.
fn examples(document: &Value) -> Vec<Value> {
    let media = &document["paths"]["/sessions"]["post"]["requestBody"]["content"];
    let media = &media["application/json"];
    let listed = media["examples"].as_object().into_iter().flat_map(serde_json::Map::values);
    let resolved = listed.map(|example| match example["$ref"].as_str() {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap()["value"].clone(),
        None => example["value"].clone(),
    });
    let single =
        [&media["example"], &document["components"]["schemas"]["CreateSession"]["example"]];
    resolved.chain(single.into_iter().cloned()).filter(|body| !body.is_null()).collect()
}

#[test]
fn the_releases_own_documents_are_taken_as_they_are_with_their_examples() {
    let Some(folder) = std::env::var_os("QOD_CAMARA_DOCUMENTS") else {
        return;
    };
    let folder = Path::new(&folder);
    let mut all = Descriptors::released();
    for (schema, like) in LIKE {
        let profiles = schema.replace("quality-on-demand", "qos-profiles");
        let has_profiles = all.named(like).unwrap().profiles.schema.is_some();
        let variant = Variant {
            name: format!("own-{like}"),
            like: like.to_owned(),
            schema: Some(schema.to_owned()),
            profiles_schema: has_profiles.then_some(profiles),
            ..Variant::default()
        };
        all.add(&variant).unwrap();
    }
    let mut shown = 0;
    for (schema, like) in LIKE {
        let name = format!("own-{like}");
        let dialects = Dialects::load_only(folder, &all, &name).unwrap_or_else(|faults| {
            panic!("{faults:?}");
        });
        let dialect = dialects.named(&name).unwrap();
        let text = fs::read_to_string(folder.join(format!("{schema}.yaml"))).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        for example in examples(&document) {
            let body = example.to_string();
            let read = dialect.parse_create_session(body.as_bytes(), &Strictness::default());
            assert!(read.is_ok(), "{schema}: {read:?}\n{example:#}");
            shown += 1;
        }
    }
    assert!(shown > 3, "{shown} examples");
}

// Why a body is refused that the release's document has nothing against. Each is what a schema cannot tell,
// or what its release says in its text only; all others are differences that nobody has thought of.
const BEYOND_THE_DOCUMENT: [&str; 14] = [
    // Ports are any text in 0.1, and its protocols cannot be told from one another by anybody else.
    "expected ports such as ",
    "expected `ANY`",
    // Whoever passes these on has an operator apply another filter than was asked for, or none.
    "expected property is missing: ",
    "expected `from` not to be above `to`",
    // Addresses are strings there, or formats that the release's own examples contradict.
    "expected an IPv4 address or network such as ",
    "expected an IPv4 address such as ",
    "expected an IPv6 address or network such as ",
    "expected an IPv6 address such as ",
    "expected an address such as ",
    // What is called, shown or logged has bounds.
    "expected an absolute http or https URL with a host",
    "expected 1 to 2048 printable characters",
    "expected 1 to 4096 characters, none of them a control",
    "expected 1 to 2048 characters, none of them a control",
    "expected 20 to 256 characters, none of them a control",
];

// One change somewhere in a body: a value of another kind, a bound crossed, a member too many or too few.
fn mutated(body: &mut Value, at: &[prop::sample::Index], odd: &Value) {
    let children = match body {
        Value::Object(members) => members.len(),
        Value::Array(elements) => elements.len(),
        _ => 0,
    };
    let Some((index, below)) = at.split_first().filter(|_| children > 0) else {
        *body = odd.clone();
        return;
    };
    let place = index.index(children);
    let child = match body {
        Value::Object(members) => members.values_mut().nth(place),
        Value::Array(elements) => elements.get_mut(place),
        _ => None,
    };
    mutated(child.unwrap(), below, odd);
}

fn odd() -> impl Strategy<Value = Value> {
    let texts =
        ["", "x", "QOS_E", "+4915112345678", "4915112345678", "198.51.100.7", "2001:db8::1"];
    let more =
        ["198.51.100.0/24", "2001:db8::/32", "https://app.example.com/cb", "http://a.example"];
    let texts: Vec<Value> = texts.iter().chain(&more).map(|text| json!(text)).collect();
    prop_oneof![
        prop::sample::select(texts),
        prop::sample::select(vec![json!(null), json!(true), json!({}), json!([]), json!([1])]),
        (-2..70_000_i64).prop_map(|number| json!(number)),
        prop::sample::select(vec![json!(1.5), json!(86_400), json!(86_401), json!(i64::MAX)]),
        Just(json!({ "ports": [80] })),
        Just(json!({ "ranges": [{ "from": 5, "to": 9 }] })),
        Just(json!({ "ipv4Address": "198.51.100.7" })),
    ]
}

#[test]
fn our_verdict_on_a_body_is_the_documents_but_for_reviewed_reasons() {
    use proptest::test_runner::{Config, TestRunner};

    let Some(folder) = std::env::var_os("QOD_CAMARA_DOCUMENTS") else { return };
    for (schema, like) in LIKE {
        let document = Document::read(&Path::new(&folder).join(format!("{schema}.yaml"))).unwrap();
        let official = document.validator("CreateSession", Direction::Request).unwrap();
        let ours = dialect(like);
        let mut runner = TestRunner::new(Config::with_cases(2_000));
        let cases = (
            arbitrary::wanted(like),
            proptest::collection::vec(any::<prop::sample::Index>(), 1..5),
            odd(),
            any::<bool>(),
        );
        runner
            .run(&cases, |(wanted, at, odd, change)| {
                let body = ours.create_session_request(&wanted, wanted.sink.as_ref());
                let mut body: Value = serde_json::from_slice(&body).unwrap();
                if change {
                    mutated(&mut body, &at, &odd);
                }
                let text = body.to_string();
                let Ok(json) = Json::parse(text.as_bytes(), &Bounds::default()) else {
                    return Ok(());
                };
                let theirs = official.faults(&json).is_empty();
                let told = ours.parse_create_session(text.as_bytes(), &Strictness::default());
                match told {
                    Ok(_) => prop_assert!(theirs, "{like} takes what its document refuses: {text}"),
                    Err(told) if theirs => {
                        let why = &told.faults[0].reason;
                        let reviewed =
                            BEYOND_THE_DOCUMENT.iter().any(|known| why.starts_with(known));
                        prop_assert!(reviewed, "{like} refuses with {why}: {text}");
                    }
                    Err(_) => {}
                }
                Ok(())
            })
            .unwrap();
    }
}
