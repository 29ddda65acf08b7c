//! `createSession`.

use super::{bench::check_session, *};
use crate::world::{address_at, set_sink};

const OPERATION: &str = "createSession";

fn valid_request<'b>(bench: &'b Bench, release: &'static str) -> TestRequest<'b> {
    let number = bench.number();
    bench.create(release, &create_request(release, &number))
}

fn body_with(bench: &Bench, release: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = create_request(release, &bench.number());
    change(&mut body);
    body
}

fn expect_rejected(
    bench: &Bench,
    release: &'static str,
    (status, codes): (u16, &[&str]),
    change: impl FnOnce(&mut Value),
) -> ScenarioResult {
    bench.create(release, &body_with(bench, release, change)).expect_error(status, codes)
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = accepted();
    all.extend(devices());
    all.extend(bodies());
    all.extend(servers());
    all.extend(conflicts_and_conditions());
    let ids = [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        "400.10_invalid_x-correlator",
        "429.1_too_many_requests",
    ];
    all.extend(common_scenarios(OPERATION, ids, valid_request));
    all
}

/// Valid bodies: each kind of device, and each optional property.
fn valid_bodies(bench: &Bench, release: &str) -> Vec<(&'static str, Value)> {
    let with = |change: &dyn Fn(&mut Value)| body_with(bench, release, change);
    let device = field(release, "device");
    let unused = bench.unused();
    let operator = if release == R0_8 { R0_8 } else { OPERATOR };
    let address = address_at(operator, u16::try_from(unused).unwrap());
    let (ipv6, nai) = (format!("2001:db8:{unused:x}::7"), format!("{unused}@op3.example"));
    let second = format!("{unused}@nowhere.example");
    let mut all = vec![
        ("phone number", with(&|_| ())),
        ("IPv4 address", create_request(release, &address)),
        (
            "ports",
            with(&|body| {
                body[field(release, "devicePorts")] = json!({ "ports": [5060, 5070] });
                let ports = json!({ "ranges": [{ "from": 5010, "to": 5020 }], "ports": [1] });
                body[field(release, "applicationServerPorts")] = ports;
            }),
        ),
    ];
    if release == R0_8 {
        return all;
    }
    all.extend([
        ("IPv6 address", with(&|body| body[device] = json!({ "ipv6Address": ipv6 }))),
        (
            "network access identifier",
            with(&|body| body[device] = json!({ "networkAccessIdentifier": nai })),
        ),
        (
            "two identifiers",
            with(&|body| body[device]["networkAccessIdentifier"] = second.clone().into()),
        ),
    ]);
    if is_from_0_11(release) {
        all.push(("sink", with(&|body| body["sink"] = "https://app.example.com/cb".into())));
    }
    all
}

/// Texts that are not a body of the schema: no object, and each property missing or of another type.
fn invalid_bodies(bench: &Bench, release: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        ["[1]", "7", "null", "\"text\"", "{", "x"].map(|text| (text.into(), text.into())).into();
    let is_optional = |name: &str| match name {
        "duration" => !is_from_0_11(release),
        "device" => is_from_0_11(release),
        _ => false,
    };
    for name in ["device", "applicationServer", "qosProfile", "duration"] {
        let own = field(release, name);
        let mut change = |how: &str, change: &dyn Fn(&mut Value)| {
            all.push((format!("{own} {how}"), body_with(bench, release, change).to_string()));
        };
        if !is_optional(name) {
            change("missing", &|body| _ = body.as_object_mut().unwrap().remove(own));
        }
        for wrong in [json!([]), json!(true), json!(null)] {
            change(&wrong.to_string(), &|body| body[own] = wrong.clone());
        }
    }
    if release == R1_2 {
        let unknown = body_with(bench, release, |body| body["colour"] = "blue".into());
        all.push(("unknown property".to_owned(), unknown.to_string()));
    }
    all
}

fn accepted() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_generic_success_scenario", |bench, release| {
            each_choice(valid_bodies(bench, release), |body| {
                check_session(release, &body, &bench.create(release, &body).expect_json(201)?)
            })
        }),
        scenario(OPERATION, "02_1_sinkcredential_provided", |bench, release| {
            let body = body_with(bench, release, |body| {
                set_sink(release, "https://app.example.com/cb", body);
            });
            let response = bench.create(release, &body).expect_success(201)?;
            ensure(
                !notifications::contains_sink_token(&response.body),
                "the response contains the credential",
            )
        }),
        scenario(OPERATION, "02_2_event_received", notifications::event_after_create),
        scenario(OPERATION, "03_3_legged_missing_device", |bench, release| {
            from_1_0(release)?;
            let token = bench.user_token(&bench.number());
            let body = body_with(bench, release, |body| {
                body.as_object_mut().unwrap().remove("device");
            });
            let response = bench.create(release, &body).with_token(Some(token)).expect_json(201)?;
            ensure(response.get("device").is_none(), "the response contains a device")
        }),
        scenario(OPERATION, "04_1_application_server_subnets_provided", |bench, release| {
            let (ipv4, ipv6) = (field(release, "ipv4Address"), field(release, "ipv6Address"));
            let name = field(release, "applicationServer");
            let choices = [
                ("IPv4", json!({ ipv4: "203.0.113.0/24" })),
                ("IPv4 /32", json!({ ipv4: "203.0.113.5/32" })),
                ("IPv6", json!({ ipv6: "2001:db8:85a3::/64" })),
                ("both", json!({ ipv4: "203.0.113.0/28", ipv6: "2001:db8:85a3::/48" })),
            ];
            each_choice(choices, |server| {
                let body = body_with(bench, release, |body| body[name] = server.clone());
                let response = bench.create(release, &body).expect_json(201)?;
                ensure(response[name] == server, &response.to_string())
            })
        }),
        scenario(OPERATION, "04_2_application_server_list_provided", |bench, release| {
            only_1_2(release)?;
            // The operator of the bench has 1.1: it can have a list that is one network.
            let sixteen: Vec<String> = (16..32).map(|n| format!("203.0.113.{n}")).collect();
            let choices = [
                ("one", json!(["203.0.113.5"])),
                ("one IPv6", json!(["2001:db8::5"])),
                ("one of each family", json!(["203.0.113.5", "2001:db8::5"])),
                ("sixteen", json!(sixteen)),
            ];
            each_choice(choices, |list| {
                let server = json!({ "ipAddresses": list });
                let body =
                    body_with(bench, release, |body| body["applicationServer"] = server.clone());
                let response = bench.create(release, &body).expect_json(201)?;
                ensure(response["applicationServer"] == server, &response.to_string())
            })
        }),
    ]
}

fn devices() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                body[field(release, "device")] = json!({});
            })
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let device = field(release, "device");
            each_choice(invalid_devices(release), |invalid| {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| body[device] = invalid)
            })
        }),
        scenario(OPERATION, "C01.03_device_not_found", |bench, release| {
            let device = field(release, "device");
            each_choice(unknown_devices(release), |unknown| {
                let error: (u16, &[&str]) = (404, &["IDENTIFIER_NOT_FOUND"]);
                expect_rejected(bench, release, error, |body| body[device] = unknown)
            })
        }),
        scenario(OPERATION, "C01.04_unnecessary_device", |bench, release| {
            from_1_0(release)?;
            let number = bench.number();
            let token = bench.user_token(&number);
            let request =
                bench.create(release, &create_request(release, &number)).with_token(Some(token));
            request.expect_error(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.05_missing_device", |bench, release| {
            expect_rejected(bench, release, (422, &["MISSING_IDENTIFIER"]), |body| {
                body.as_object_mut().unwrap().remove(field(release, "device"));
            })
        }),
        scenario(OPERATION, "C01.06_unsupported_device", |bench, release| {
            each_choice(unsupported_devices(release), |device| {
                expect_rejected(bench, release, (422, &["UNSUPPORTED_IDENTIFIER"]), |body| {
                    body[field(release, "device")] = device;
                })
            })
        }),
        scenario(OPERATION, "C01.07_device_not_supported", |bench, release| {
            expect_rejected(bench, release, (422, &["SERVICE_NOT_APPLICABLE"]), |body| {
                body[field(release, "device")] = unserved_device(release);
            })
        }),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list of scenarios")]
fn bodies() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "400.1_schema_not_compliant", |bench, release| {
            each_choice(invalid_bodies(bench, release), |body| {
                let request = bench.request(release, "POST", "/sessions").with_text(&body);
                request.expect_error(400, &["INVALID_ARGUMENT"])
            })
        }),
        scenario(OPERATION, "400.2_no_request_body", |bench, release| {
            bench.request(release, "POST", "/sessions").expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.3_empty_request_body", |bench, release| {
            bench.create(release, &json!({})).expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.4_empty_property", |bench, release| {
            for name in ["applicationServer", "devicePorts", "applicationServerPorts"] {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                    body[field(release, name)] = json!({});
                })?;
            }
            if !is_from_0_11(release) {
                return Ok(());
            }
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({});
            })
        }),
        out_of_range_port(),
        scenario(OPERATION, "400.6_unsupported_sink_credential_type", |bench, release| {
            from_0_11(release)?;
            let codes: &[&str] =
                if release == R1_2 { &["INVALID_ARGUMENT"] } else { &["INVALID_CREDENTIAL"] };
            for kind in ["PLAIN", "REFRESHTOKEN"] {
                expect_rejected(bench, release, (400, codes), |body| {
                    body["sink"] = "https://app.example.com/cb".into();
                    body["sinkCredential"] = json!({ "credentialType": kind });
                })?;
            }
            Ok(())
        }),
        scenario(OPERATION, "400.7_sink_credential_invalid_token", |bench, release| {
            from_0_11(release)?;
            let types = ["odd", "Bearer", "BEARER", ""];
            each_choice(types.map(|kind| (format!("`{kind}`"), kind)), |kind| {
                let error: (u16, &[&str]) = (400, &["INVALID_TOKEN", "INVALID_ARGUMENT"]);
                expect_rejected(bench, release, error, |body| {
                    body["sink"] = "https://app.example.com/cb".into();
                    body["sinkCredential"] = json!({
                        "credentialType": "ACCESSTOKEN", "accessToken": "x",
                        "accessTokenExpiresUtc": "2099-01-01T00:00:00Z", "accessTokenType": kind,
                    });
                })
            })
        }),
        scenario(OPERATION, "400.8_non_existent_qos_profile", |bench, release| {
            let error = (400, &["INVALID_ARGUMENT"] as &[&str]);
            let names = ["NONE", "qos_e", "QOS_E.", "QOS-E"];
            each_choice(names.map(|name| (name, name)), |name| {
                expect_rejected(bench, release, error, |body| {
                    body[field(release, "qosProfile")] = name.into();
                })
            })
        }),
        scenario(OPERATION, "400.9_invalid_duration", |bench, release| {
            let too_long = if is_from_0_11(release) { 2_147_483_648_u32 } else { 86_401 };
            let choices = [
                ("0", json!(0)),
                ("-1", json!(-1)),
                ("longer than the schema allows", json!(too_long)),
                ("longer than the profile allows", json!(7_201)),
            ];
            each_choice(choices, |duration| {
                let is_of_profile = duration == 7_201;
                // 0.10 has one code for a range.
                let code = if is_of_profile && release == R0_10 {
                    "OUT_OF_RANGE"
                } else {
                    "INVALID_ARGUMENT"
                };
                expect_rejected(bench, release, (400, &[code]), |body| {
                    body[field(release, "qosProfile")] = "QOS_M".into();
                    body["duration"] = duration;
                })
            })
        }),
    ]
}

fn out_of_range_port() -> Scenario {
    scenario(OPERATION, "400.5_out_of_range_port", |bench, release| {
        let error = (400, &["OUT_OF_RANGE", "INVALID_ARGUMENT"] as &[&str]);
        for ports in ["devicePorts", "applicationServerPorts"] {
            for invalid in [
                json!({ "ports": [65_536] }),
                json!({ "ports": [-1] }),
                json!({ "ports": [5060, 4_294_967_296_u64] }),
                json!({ "ranges": [{ "from": -1, "to": 9 }] }),
                json!({ "ranges": [{ "from": 65_536, "to": 65_537 }] }),
                json!({ "ranges": [{ "from": 9, "to": 65_536 }] }),
                json!({ "ranges": [{ "from": 9, "to": -1 }] }),
            ] {
                expect_rejected(bench, release, error, |body| {
                    body[field(release, ports)] = invalid;
                })?;
            }
        }
        if release == R0_8 {
            return Ok(());
        }
        each_choice([("65536", 65_536), ("-1", -1)], |port| {
            let device = json!({ "publicAddress": "192.0.2.7", "publicPort": port });
            expect_rejected(bench, release, error, |body| {
                body["device"] = json!({ "ipv4Address": device });
            })
        })
    })
}

fn servers() -> Vec<Scenario> {
    let list = |id, lists: Value| {
        scenario(OPERATION, id, move |bench, release| {
            only_1_2(release)?;
            let lists = lists.as_array().unwrap().clone();
            each_choice(lists.into_iter().map(|list| (list.to_string(), list)), |list| {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                    body["applicationServer"] = json!({ "ipAddresses": list });
                })
            })
        })
    };
    let many = |count: u8| (1..=count).map(|n| format!("203.0.113.{n}")).collect::<Vec<_>>();
    vec![
        scenario(OPERATION, "400.11_invalid_application_server", |bench, release| {
            only_1_2(release)?;
            let list = json!(["203.0.113.5"]);
            let choices = [
                ("IPv4", json!({ "ipv4Address": "203.0.113.5", "ipAddresses": list })),
                ("IPv6", json!({ "ipv6Address": "2001:db8::5", "ipAddresses": list })),
                (
                    "both",
                    json!({
                        "ipv4Address": "203.0.113.5", "ipv6Address": "2001:db8::5",
                        "ipAddresses": list,
                    }),
                ),
                ("empty list", json!({ "ipv4Address": "203.0.113.5", "ipAddresses": [] })),
            ];
            each_choice(choices, |server| {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                    body["applicationServer"] = server;
                })
            })
        }),
        list("400.12_empty_application_server_list", json!([[]])),
        list("400.13_application_server_list_is_too_large", json!([many(17), many(200)])),
        list(
            "400.14_duplicate_values_in_application_server_list",
            json!([
                ["203.0.113.5", "203.0.113.5"],
                ["203.0.113.5", "203.0.113.6", "203.0.113.5"],
                ["2001:db8::5", "2001:db8::5"],
                ["2001:db8::5", "2001:DB8:0::5"],
            ]),
        ),
        list(
            "400.15_invalid_values_in_application_server_list",
            json!([["203.0.113.300"], ["x"], [""], [7], [null], ["203.0.113.5", "2001:db8::g"]]),
        ),
        list(
            "400.16_subnet_in_application_server_list",
            json!([
                ["203.0.113.0/24"],
                ["203.0.113.5/32"],
                ["2001:db8::/64"],
                ["203.0.113.5", "/"]
            ]),
        ),
    ]
}

fn conflicts_and_conditions() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "409.1_session_conflict", |bench, release| {
            let (number, _) = bench.session(release);
            let server = |address: &str| {
                let mut body = create_request(release, &number);
                let name = field(release, "applicationServer");
                body[name] = json!({ field(release, "ipv4Address"): address });
                body
            };
            let choices = [
                ("the same flow", create_request(release, &number)),
                ("an overlapping flow", server("203.0.113.0/24")),
                ("another flow of the device", server("198.51.100.5")),
            ];
            each_choice(choices, |body| {
                bench.create(release, &body).expect_error(409, &["CONFLICT"])
            })
        }),
        scenario(OPERATION, "422.1_session_qos_profile_not_applicable", |bench, release| {
            let code: &[&str] = &["QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"];
            let choices = [("inactive", "OFF"), ("deprecated", "OLD"), ("not offered", "QOS_S")];
            each_choice(choices, |profile| {
                expect_rejected(bench, release, (422, code), |body| {
                    body[field(release, "qosProfile")] = profile.into();
                })
            })
        }),
        scenario(OPERATION, "422.2_private_key_jwt_not_configured", |bench, release| {
            only_1_2(release)?;
            expect_rejected(bench, release, (422, &["PRIVATE_KEY_JWT_NOT_CONFIGURED"]), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({ "credentialType": "PRIVATE_KEY_JWT" });
            })
        }),
    ]
}
