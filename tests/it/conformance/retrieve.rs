//! `retrieveSessionsByDevice`.

use super::{bench::is_session, *};

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
    all.map(|scenario| scenario.only_if(from_0_11)).collect()
}

fn own() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_get_existing_session_by_device", |bench, release| {
            let (number, path) = bench.session(release);
            let told = of_device(bench, release, &json!({ "phoneNumber": number })).json(200)?;
            let Some([one]) = told.as_array().map(Vec::as_slice) else {
                return Err(Other::Deviates(told.to_string()));
            };
            must(path.ends_with(one["sessionId"].as_str().unwrap()), "another session")?;
            is_session(release, &wish(release, &number), one)
        }),
        scenario(OPERATION, "02_sessions_not_found", |bench, release| {
            let told = sound(bench, release).json(200)?;
            must(told == json!([]), &told.to_string())
        }),
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            of_device(bench, release, &json!({})).expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let mut odd = odd_devices(release).into_iter();
            odd.try_for_each(|odd| of_device(bench, release, &odd).expect(INVALID.0, INVALID.1))
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
            let ask = of_device(bench, release, &unsupported_device(release));
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
