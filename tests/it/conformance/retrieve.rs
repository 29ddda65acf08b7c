//! `retrieveSessionsByDevice`.

use super::{bench::check_session, *};
use crate::world::address_at;

const OPERATION: &str = "retrieveSessionsByDevice";

fn request_by_device<'b>(
    bench: &'b Bench,
    release: &'static str,
    device: &Value,
) -> TestRequest<'b> {
    bench.request(release, "POST", "/retrieve-sessions").with_body(&json!({ "device": device }))
}

fn valid_request<'b>(bench: &'b Bench, release: &'static str) -> TestRequest<'b> {
    request_by_device(bench, release, &json!({ "phoneNumber": bench.number() }))
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
    let all = scenarios().into_iter().chain(common_scenarios(OPERATION, ids, valid_request));
    all.map(|scenario| scenario.restricted_to(from_0_11)).collect()
}

fn scenarios() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_get_existing_session_by_device", |bench, release| {
            let address = address_at(OPERATOR, u16::try_from(bench.unused()).unwrap());
            each_choice([("number", bench.number()), ("address", address)], |device| {
                let body = create_request(release, &device);
                let created = bench.create(release, &body).expect_json(201)?;
                let response =
                    request_by_device(bench, release, &body["device"]).expect_json(200)?;
                let Some([session]) = response.as_array().map(Vec::as_slice) else {
                    return Err(NotPassed::Deviates(response.to_string()));
                };
                let id = session["sessionId"] == created["sessionId"];
                ensure(id, "a different session")?;
                check_session(release, &body, session)
            })
        }),
        scenario(OPERATION, "02_sessions_not_found", |bench, release| {
            let response = valid_request(bench, release).expect_json(200)?;
            ensure(response == json!([]), &response.to_string())
        }),
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            request_by_device(bench, release, &json!({})).expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            each_choice(invalid_devices(release), |device| {
                request_by_device(bench, release, &device)
                    .expect_error(INVALID_ARGUMENT.0, INVALID_ARGUMENT.1)
            })
        }),
        scenario(OPERATION, "C01.03_device_not_found", |bench, release| {
            each_choice(unknown_devices(release), |device| {
                request_by_device(bench, release, &device)
                    .expect_error(404, &["IDENTIFIER_NOT_FOUND"])
            })
        }),
        scenario(OPERATION, "C01.04_unnecessary_device", |bench, release| {
            from_1_0(release)?;
            let number = bench.number();
            let request = request_by_device(bench, release, &json!({ "phoneNumber": number }));
            let token = bench.user_token(&number);
            request.with_token(Some(token)).expect_error(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.05_missing_device", |bench, release| {
            let request =
                bench.request(release, "POST", "/retrieve-sessions").with_body(&json!({}));
            request.expect_error(422, &["MISSING_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.06_unsupported_device", |bench, release| {
            each_choice(unsupported_devices(release), |device| {
                request_by_device(bench, release, &device)
                    .expect_error(422, &["UNSUPPORTED_IDENTIFIER"])
            })
        }),
        scenario(OPERATION, "C01.07_device_not_supported", |bench, release| {
            request_by_device(bench, release, &unserved_device(release))
                .expect_error(422, &["SERVICE_NOT_APPLICABLE"])
        }),
        scenario(OPERATION, "400.1_schema_not_compliant", |bench, release| {
            let texts = ["[1]", "7", "null", "{", "{\"device\":null}", "{\"device\":[]}"];
            each_choice(texts.map(|text| (text, text)), |text| {
                let request = bench.request(release, "POST", "/retrieve-sessions").with_text(text);
                request.expect_error(400, &["INVALID_ARGUMENT"])
            })
        }),
        scenario(OPERATION, "400.2_no_request_body", |bench, release| {
            bench
                .request(release, "POST", "/retrieve-sessions")
                .expect_error(400, &["INVALID_ARGUMENT"])
        }),
    ]
}
