//! `retrieveSessionsByDevice`.

use super::*;

const OPERATION: &str = "retrieveSessionsByDevice";

fn of_device<'b>(bench: &'b Bench, release: &'static str, device: &Value) -> Ask<'b> {
    bench.ask(release, "POST", "/retrieve-sessions").with(&json!({ "device": device }))
}

fn sound<'b>(bench: &'b Bench, release: &'static str) -> Ask<'b> {
    of_device(bench, release, &json!({ "phoneNumber": bench.number() }))
}

pub(super) fn all() -> Vec<Scenario> {
    let ids = [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        "400.3_invalid_x-correlator",
        "429.1_too_many_requests",
    ];
    let all = own().into_iter().chain(common(OPERATION, ids, sound));
    let where_it_is = |Scenario { operation, id, tries }| {
        scenario(operation, id, move |bench, release| {
            from_0_11(release)?;
            tries(bench, release)
        })
    };
    all.map(where_it_is).collect()
}

fn own() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_get_existing_session_by_device", |bench, release| {
            let (number, path) = bench.session(release);
            let told = of_device(bench, release, &json!({ "phoneNumber": number })).send();
            must(told.status == 200, &format!("got {}", told.status))?;
            let told = told.json();
            let ids: Vec<&str> = told
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|one| one["sessionId"].as_str())
                .collect();
            must(ids.len() == 1 && path.ends_with(ids[0]), &told.to_string())
        }),
        scenario(OPERATION, "02_sessions_not_found", |bench, release| {
            let told = sound(bench, release).send();
            must(told.status == 200 && told.json() == json!([]), &told.body)
        }),
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            of_device(bench, release, &json!({})).expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let device = json!({ "phoneNumber": "foo" });
            of_device(bench, release, &device).expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "C01.04_unnecessary_device", |bench, release| {
            let number = bench.number();
            let ask = of_device(bench, release, &json!({ "phoneNumber": number }));
            let token = bench.users_token(&number);
            ask.by(Some(token)).expect(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.05_missing_device", |bench, release| {
            let ask = bench.ask(release, "POST", "/retrieve-sessions").with(&json!({}));
            ask.expect(422, &["MISSING_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.06_unsupported_device", |bench, release| {
            let address = json!({ "publicAddress": "192.0.2.7", "publicPort": 5060 });
            let ask = of_device(bench, release, &json!({ "ipv4Address": address }));
            ask.expect(422, &["UNSUPPORTED_IDENTIFIER"])
        }),
        scenario(OPERATION, "400.1_schema_not_compliant", |bench, release| {
            let ask = bench.ask(release, "POST", "/retrieve-sessions").with(&json!([1]));
            ask.expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.2_no_request_body", |bench, release| {
            bench.ask(release, "POST", "/retrieve-sessions").expect(400, &["INVALID_ARGUMENT"])
        }),
    ]
}
