//! `getQosProfile` and `retrieveQoSProfiles`; up to 0.10 the latter is a GET with a query string.

use super::*;

const GET: &str = "getQosProfile";
const RETRIEVE: &str = "retrieveQoSProfiles";

/// The only operator of a profile, which is offered for its devices.
const RESTRICTING_OPERATOR: &str = R0_8;
const RESTRICTED_PROFILE: &str = "QOS_S";

pub(super) fn all() -> Vec<Scenario> {
    let mut all = get();
    let ids = [
        "401.01_no_authorization_header",
        "401.02_expired_access_token",
        "401.03_invalid_access_token",
        "403.01_missing_access_token_scope",
        "400.03_invalid_x-correlator",
        "429.01_too_many_requests",
    ];
    all.extend(common_scenarios(GET, ids, |bench, release| get_by_name(bench, release, "QOS_E")));
    all.extend(by_name_and_status());
    all.extend(by_device());
    all.extend(common_scenarios(RETRIEVE, ids, |bench, release| {
        retrieve(bench, release, &json!({}))
    }));
    all.into_iter().map(|scenario| scenario.restricted_to(from_0_9)).collect()
}

fn get_by_name<'b>(bench: &'b Bench, release: &'static str, name: &str) -> TestRequest<'b> {
    bench.profiles_request(release, "GET", &format!("/qos-profiles/{name}"))
}

fn retrieve<'b>(bench: &'b Bench, release: &'static str, filter: &Value) -> TestRequest<'b> {
    if is_from_0_11(release) {
        return bench.profiles_request(release, "POST", "/retrieve-qos-profiles").with_body(filter);
    }
    let pairs = filter.as_object().unwrap().iter();
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap())).collect();
    bench.profiles_request(release, "GET", &format!("/qos-profiles?{}", pairs.join("&")))
}

fn retrieve_by_number<'b>(
    bench: &'b Bench,
    release: &'static str,
    number: &str,
) -> TestRequest<'b> {
    retrieve(bench, release, &json!({ "device": { "phoneNumber": number } }))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|profile| profile["name"].as_str().unwrap()).collect()
}

fn get() -> Vec<Scenario> {
    let rejected = |id, names: Vec<String>| {
        scenario(GET, id, move |bench, release| {
            let (status, codes) = INVALID_ARGUMENT;
            let mut requests = names.iter().map(|name| get_by_name(bench, release, name));
            requests.try_for_each(|request| request.expect_error(status, codes))
        })
    };
    let invalid = ["QOS%20E", "QOS~E", "a;b;c", "QOS+E", "QOS*E"].map(str::to_owned).to_vec();
    vec![
        scenario(GET, "01_generic_success_scenario", |bench, release| {
            let response = get_by_name(bench, release, "QOS_E").expect_json(200)?;
            let expected = json!({
                "name": "QOS_E", "status": "ACTIVE",
                "minDuration": { "value": 1, "unit": "Seconds" },
                "maxDuration": { "value": 1, "unit": "Days" },
            });
            ensure(response == expected, &response.to_string())?;
            // Every profile, in any status.
            each_choice(["OFF", "OLD", "QOS_M", "QOS_S"].map(|name| (name, name)), |name| {
                let response = get_by_name(bench, release, name).expect_json(200)?;
                ensure(response["name"] == name, &response.to_string())
            })
        }),
        rejected("400.01_name_does_not_match_regex", invalid),
        rejected("400.02_invalid_name_length", vec!["ab".to_owned(), "x".repeat(257)]),
        scenario(GET, "404.01_not_found", |bench, release| {
            let longest = "x".repeat(256);
            let names = ["QOS_X", "qos_e", "QOS_E.", &*longest];
            each_choice(names.map(|name| (name, name)), |name| {
                get_by_name(bench, release, name).expect_error(404, &["NOT_FOUND"])
            })?;
            if !is_from_0_11(release) {
                return Ok(());
            }
            // A profile that the operator of the user lacks.
            let token = bench.user_token(&bench.number());
            let request = get_by_name(bench, release, RESTRICTED_PROFILE).with_token(Some(token));
            request.expect_error(404, &["NOT_FOUND"])
        }),
    ]
}

fn by_name_and_status() -> Vec<Scenario> {
    vec![
        scenario(RETRIEVE, "01_generic_success_scenario", |bench, release| {
            let response = retrieve(bench, release, &json!({})).expect_json(200)?;
            let all = ["OFF", "OLD", "QOS_E", "QOS_M", "QOS_S"];
            ensure(names(&response) == all, &response.to_string())
        }),
        scenario(RETRIEVE, "02_filter_by_name_only", |bench, release| {
            each_choice(["QOS_E", "OFF", "OLD"].map(|name| (name, name)), |name| {
                let response =
                    retrieve(bench, release, &json!({ "name": name })).expect_json(200)?;
                ensure(names(&response) == [name], &response.to_string())
            })
        }),
        scenario(RETRIEVE, "03_filter_by_status_only", |bench, release| {
            let profiles: [(&str, &[&str]); 3] = [
                ("ACTIVE", &["QOS_E", "QOS_M", "QOS_S"]),
                ("INACTIVE", &["OFF"]),
                ("DEPRECATED", &["OLD"]),
            ];
            for (status, expected) in profiles {
                let response =
                    retrieve(bench, release, &json!({ "status": status })).expect_json(200)?;
                let matches = names(&response) == expected
                    && response
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|profile| profile["status"] == status);
                ensure(matches, &response.to_string())?;
            }
            Ok(())
        }),
    ]
}

fn expect_rejected(
    bench: &Bench,
    release: &'static str,
    device: &Value,
    (status, codes): (u16, &[&str]),
) -> ScenarioResult {
    retrieve(bench, release, &json!({ "device": device })).expect_error(status, codes)
}

#[expect(clippy::too_many_lines, reason = "a list of scenarios")]
fn by_device() -> Vec<Scenario> {
    let all = vec![
        scenario(RETRIEVE, "04_return_restricted_profiles", |bench, release| {
            let response =
                retrieve_by_number(bench, release, &bench.number_of(RESTRICTING_OPERATOR))
                    .expect_json(200)?;
            ensure(names(&response).contains(&RESTRICTED_PROFILE), &response.to_string())?;
            let response = retrieve_by_number(bench, release, &bench.number()).expect_json(200)?;
            ensure(!names(&response).contains(&RESTRICTED_PROFILE), "returned for another device")
        }),
        scenario(RETRIEVE, "05_not_return_restricted_profiles", |bench, release| {
            let response = retrieve(bench, release, &json!({})).expect_json(200)?;
            ensure(!names(&response).contains(&RESTRICTED_PROFILE), "returned without a device")
        }),
        scenario(RETRIEVE, "06_device_qos_profiles_not_found", |bench, release| {
            let response = retrieve_by_number(bench, release, &bench.number())
                .with_client_token("few")
                .expect_json(200)?;
            ensure(response == json!([]), &response.to_string())
        }),
        scenario(RETRIEVE, "C01.01_device_empty", move |bench, release| {
            expect_rejected(bench, release, &json!({}), INVALID_ARGUMENT)
        }),
        scenario(
            RETRIEVE,
            "C01.02_device_identifiers_not_schema_compliant",
            move |bench, release| {
                each_choice(invalid_devices(release), |device| {
                    expect_rejected(bench, release, &device, INVALID_ARGUMENT)
                })
            },
        ),
        scenario(RETRIEVE, "C01.03_device_not_found", move |bench, release| {
            each_choice(unknown_devices(release), |device| {
                let error: (u16, &[&str]) = (404, &["IDENTIFIER_NOT_FOUND"]);
                expect_rejected(bench, release, &device, error)
            })
        }),
        scenario(RETRIEVE, "C01.07_device_not_supported", move |bench, release| {
            let error: (u16, &[&str]) = (422, &["SERVICE_NOT_APPLICABLE"]);
            expect_rejected(bench, release, &unserved_device(release), error)
        }),
        scenario(RETRIEVE, "C01.04_unnecessary_device", |bench, release| {
            from_1_0(release)?;
            let number = bench.number();
            let token = bench.user_token(&number);
            let request = retrieve_by_number(bench, release, &number).with_token(Some(token));
            request.expect_error(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(RETRIEVE, "C01.06_unsupported_device", move |bench, release| {
            each_choice(unsupported_devices(release), |device| {
                let error: (u16, &[&str]) = (422, &["UNSUPPORTED_IDENTIFIER"]);
                expect_rejected(bench, release, &device, error)
            })
        }),
        scenario(RETRIEVE, "400.01_schema_not_compliant", |bench, release| {
            let (status, codes) = INVALID_ARGUMENT;
            let bodies = [
                json!([1]),
                json!(7),
                json!({ "name": "a b" }),
                json!({ "name": "ab" }),
                json!({ "name": null }),
                json!({ "status": "GONE" }),
                json!({ "status": "active" }),
                json!({ "device": [] }),
            ];
            each_choice(bodies.map(|body| (body.to_string(), body)), |body| {
                retrieve(bench, release, &body).expect_error(status, codes)
            })
        }),
        scenario(RETRIEVE, "400.02_no_request_body", |bench, release| {
            let (status, codes) = INVALID_ARGUMENT;
            bench
                .profiles_request(release, "POST", "/retrieve-qos-profiles")
                .expect_error(status, codes)
        }),
    ];
    all.into_iter().map(|scenario| scenario.restricted_to(from_0_11)).collect()
}
