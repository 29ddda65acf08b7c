//! `getQosProfile` and `retrieveQoSProfiles`; up to 0.10 the latter is a list that is asked for by its URL.

use super::*;

const GET: &str = "getQosProfile";
const RETRIEVE: &str = "retrieveQoSProfiles";

/// An operator that alone has a profile, for its devices.
const RESTRICTED: &str = R0_8;
const OF_ITS_DEVICES: &str = "QOS_S";

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
    all.extend(common(GET, ids, |bench, release| named(bench, release, "QOS_E")));
    all.extend(found());
    all.extend(of_device());
    all.extend(common(RETRIEVE, ids, |bench, release| found_by(bench, release, &json!({}))));
    all.into_iter().map(|scenario| scenario.only_if(from_0_9)).collect()
}

fn named<'b>(bench: &'b Bench, release: &'static str, name: &str) -> Ask<'b> {
    bench.ask_profiles(release, "GET", &format!("/qos-profiles/{name}"))
}

fn found_by<'b>(bench: &'b Bench, release: &'static str, by: &Value) -> Ask<'b> {
    if is_new(release) {
        return bench.ask_profiles(release, "POST", "/retrieve-qos-profiles").with(by);
    }
    let pairs = by.as_object().unwrap().iter();
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap())).collect();
    bench.ask_profiles(release, "GET", &format!("/qos-profiles?{}", pairs.join("&")))
}

fn of_number<'b>(bench: &'b Bench, release: &'static str, number: &str) -> Ask<'b> {
    found_by(bench, release, &json!({ "device": { "phoneNumber": number } }))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

fn get() -> Vec<Scenario> {
    let refused = |id, names: Vec<String>| {
        scenario(GET, id, move |bench, release| {
            let (status, codes) = INVALID;
            let mut each = names.iter().map(|name| named(bench, release, name));
            each.try_for_each(|ask| ask.expect(status, codes))
        })
    };
    let odd = ["QOS%20E", "QOS~E", "a;b;c"].map(str::to_owned).to_vec();
    vec![
        scenario(GET, "01_generic_success_scenario", |bench, release| {
            let told = named(bench, release, "QOS_E").json(200)?;
            let expected = json!({
                "name": "QOS_E", "status": "ACTIVE",
                "minDuration": { "value": 1, "unit": "Seconds" },
                "maxDuration": { "value": 1, "unit": "Days" },
            });
            must(told == expected, &told.to_string())
        }),
        refused("400.01_name_does_not_match_regex", odd),
        refused("400.02_invalid_name_length", vec!["ab".to_owned(), "x".repeat(257)]),
        scenario(GET, "404.01_not_found", |bench, release| {
            named(bench, release, "QOS_X").expect(404, &["NOT_FOUND"])
        }),
    ]
}

fn found() -> Vec<Scenario> {
    vec![
        scenario(RETRIEVE, "01_generic_success_scenario", |bench, release| {
            let told = found_by(bench, release, &json!({})).json(200)?;
            must(names(&told) == ["OFF", "OLD", "QOS_E", "QOS_S"], &told.to_string())
        }),
        scenario(RETRIEVE, "02_filter_by_name_only", |bench, release| {
            let told = found_by(bench, release, &json!({ "name": "QOS_E" })).json(200)?;
            must(names(&told) == ["QOS_E"], &told.to_string())
        }),
        scenario(RETRIEVE, "03_filter_by_status_only", |bench, release| {
            let known: [(&str, &[&str]); 3] =
                [("ACTIVE", &["QOS_E", "QOS_S"]), ("INACTIVE", &["OFF"]), ("DEPRECATED", &["OLD"])];
            for (status, expected) in known {
                let told = found_by(bench, release, &json!({ "status": status })).json(200)?;
                let sound = names(&told) == expected
                    && told.as_array().unwrap().iter().all(|one| one["status"] == status);
                must(sound, &told.to_string())?;
            }
            Ok(())
        }),
    ]
}

fn refused(
    bench: &Bench,
    release: &'static str,
    device: &Value,
    (status, codes): (u16, &[&str]),
) -> Outcome {
    found_by(bench, release, &json!({ "device": device })).expect(status, codes)
}

fn of_device() -> Vec<Scenario> {
    let all = vec![
        scenario(RETRIEVE, "04_return_restricted_profiles", |bench, release| {
            let told = of_number(bench, release, &bench.number_of(RESTRICTED)).json(200)?;
            must(names(&told).contains(&OF_ITS_DEVICES), &told.to_string())?;
            let told = of_number(bench, release, &bench.number()).json(200)?;
            must(!names(&told).contains(&OF_ITS_DEVICES), "told of another device too")
        }),
        scenario(RETRIEVE, "05_not_return_restricted_profiles", |bench, release| {
            let told = found_by(bench, release, &json!({})).json(200)?;
            must(!names(&told).contains(&OF_ITS_DEVICES), "told without a device too")
        }),
        scenario(RETRIEVE, "06_device_qos_profiles_not_found", |bench, release| {
            let told = of_number(bench, release, &bench.number()).of_client("few").json(200)?;
            must(told == json!([]), &told.to_string())
        }),
        scenario(RETRIEVE, "C01.01_device_empty", move |bench, release| {
            refused(bench, release, &json!({}), INVALID)
        }),
        scenario(
            RETRIEVE,
            "C01.02_device_identifiers_not_schema_compliant",
            move |bench, release| {
                let mut odd = odd_devices(release).into_iter();
                odd.try_for_each(|device| refused(bench, release, &device, INVALID))
            },
        ),
        scenario(RETRIEVE, "C01.04_unnecessary_device", |bench, release| {
            let number = bench.number();
            let token = bench.users_token(&number);
            let ask = of_number(bench, release, &number).by(Some(token));
            ask.expect(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(RETRIEVE, "C01.06_unsupported_device", move |bench, release| {
            let no: (u16, &[&str]) = (422, &["UNSUPPORTED_IDENTIFIER"]);
            refused(bench, release, &unsupported_device(release), no)
        }),
        scenario(RETRIEVE, "400.01_schema_not_compliant", |bench, release| {
            let (status, codes) = INVALID;
            let mut odd =
                [json!([1]), json!({ "name": "a b" }), json!({ "status": "GONE" })].into_iter();
            odd.try_for_each(|body| found_by(bench, release, &body).expect(status, codes))
        }),
        scenario(RETRIEVE, "400.02_no_request_body", |bench, release| {
            let (status, codes) = INVALID;
            bench.ask_profiles(release, "POST", "/retrieve-qos-profiles").expect(status, codes)
        }),
    ];
    all.into_iter().map(|scenario| scenario.only_if(from_0_11)).collect()
}
