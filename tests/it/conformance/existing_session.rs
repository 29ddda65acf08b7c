//! `getSession`, `deleteSession` and `extendQosSessionDuration`.

use super::{bench::check_session, *};

const GET: &str = "getSession";
const DELETE: &str = "deleteSession";
const EXTEND: &str = "extendQosSessionDuration";
const UNKNOWN_SESSION: &str = "/sessions/00000000-0000-4000-8000-000000000000";

fn request_for<'b>(
    bench: &'b Bench,
    release: &'static str,
    operation: &'static str,
    path: &str,
) -> TestRequest<'b> {
    match operation {
        GET => bench.request(release, "GET", path),
        DELETE => bench.request(release, "DELETE", path),
        _ => {
            let extension = json!({ "requestedAdditionalDuration": 60 });
            bench.request(release, "POST", &format!("{path}/extend")).with_body(&extension)
        }
    }
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = get();
    all.extend(common_to_session(GET));
    all.extend(common_scenarios(GET, ids("400.2_invalid_x-correlator"), |bench, release| {
        request_for(bench, release, GET, UNKNOWN_SESSION)
    }));
    all.extend(delete());
    all.extend(common_to_session(DELETE));
    all.extend(common_scenarios(DELETE, ids("400.2_invalid_x-correlator"), |bench, release| {
        request_for(bench, release, DELETE, UNKNOWN_SESSION)
    }));
    let mut extensions = extend();
    extensions.extend(common_to_session(EXTEND));
    extensions.extend(common_scenarios(
        EXTEND,
        ids("400.5_invalid_x-correlator"),
        |bench, release| request_for(bench, release, EXTEND, UNKNOWN_SESSION),
    ));
    all.extend(extensions.into_iter().map(|scenario| scenario.restricted_to(from_0_10)));
    all
}

fn ids(correlator: &'static str) -> [&'static str; 6] {
    [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        correlator,
        "429.1_too_many_requests",
    ]
}

fn common_to_session(operation: &'static str) -> Vec<Scenario> {
    let invalid =
        if operation == EXTEND { "400.2_invalid_session_id" } else { "400.1_invalid_session_id" };
    vec![
        scenario(operation, invalid, move |bench, release| {
            if release == R0_8 {
                return Err(NotPassed::NotSupported("404 before 0.10"));
            }
            let ids = [
                "4711",
                "x",
                "00000000000040008000000000000000",
                "00000000-0000-4000-8000-00000000000",
                "00000000-0000-4000-8000-0000000000000",
                "00000000-0000-4000-8000-00000000000g",
            ];
            each_choice(ids.map(|id| (id, id)), |id| {
                let request = request_for(bench, release, operation, &format!("/sessions/{id}"));
                request.expect_error(400, &["INVALID_ARGUMENT"])
            })
        }),
        scenario(operation, "403.2_session_token_mismatch", move |bench, release| {
            let (_, path) = bench.session(release);
            each_choice([("another client", "other"), ("a third one", "small")], |client| {
                let request = request_for(bench, release, operation, &path);
                request.with_client_token(client).expect_error(403, &["PERMISSION_DENIED"])
            })
        }),
        scenario(operation, "404.1_not_found", move |bench, release| {
            let ids = [UNKNOWN_SESSION, "/sessions/01912345-0000-7000-8000-00000000ABCD"];
            each_choice(ids.map(|id| (id, id)), |path| {
                let request = request_for(bench, release, operation, path);
                request.expect_error(404, &["NOT_FOUND"])
            })
        }),
    ]
}

fn get() -> Vec<Scenario> {
    vec![
        scenario(GET, "01_get_existing_session", |bench, release| {
            let (number, path) = bench.session(release);
            let response = bench.request(release, "GET", &path).expect_success(200)?;
            ensure(path.ends_with(&session_id(&response)), "a different session")?;
            check_session(release, &create_request(release, &number), &response.json())
        }),
        scenario(GET, "02_get_recent_unavailable", |bench, release| {
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            let response = bench.request(release, "GET", &path).expect_json(200)?;
            if release == R0_8 {
                // The release has no status: the end is the only sign.
                let now = jiff::Timestamp::now().as_second();
                let ended = response["expiresAt"].as_i64().is_some_and(|at| at <= now + 1);
                return ensure(ended, "an end in the future");
            }
            ensure(response["qosStatus"] == "UNAVAILABLE", &response.to_string())
        }),
    ]
}

fn delete() -> Vec<Scenario> {
    vec![
        scenario(DELETE, "01_delete_existing_qod_session", |bench, release| {
            let (number, path) = bench.session(release);
            let response = bench.request(release, "DELETE", &path).expect_success(204)?;
            ensure(response.body.is_empty(), "the response has a body")?;
            bench.request(release, "GET", &path).expect_error(404, &["NOT_FOUND"])?;
            let sessions = bench.world.operator_sessions(OPERATOR);
            ensure(!sessions.iter().any(|line| line.contains(&number)), "orphan at the operator")?;
            // Only the newer releases require it.
            let typed = response.header("content-type") == Some("application/json");
            ensure(typed || !is_from_0_11(release), "expected a content type, got none")
        }),
        scenario(DELETE, "02_event_notification", notifications::event_after_delete),
    ]
}

fn extend() -> Vec<Scenario> {
    let expect_rejected = |bench: &Bench, release, body: &Value| {
        let (_, path) = bench.session(release);
        let request = bench.request(release, "POST", &format!("{path}/extend"));
        request.with_body(body).expect_error(400, &["INVALID_ARGUMENT"])
    };
    vec![
        scenario(EXTEND, "01_generic_success_scenario", |bench, release| {
            let (number, path) = bench.session(release);
            let response = request_for(bench, release, EXTEND, &path).expect_json(200)?;
            ensure(response["duration"] == 660, &response.to_string())?;
            check_session(release, &create_request(release, &number), &response)
        }),
        scenario(EXTEND, "02_exceed_max_duration", |bench, release| {
            from_0_11(release)?;
            let choices = [("one second", 85_801), ("long", 1_000_000), ("longest", i32::MAX)];
            each_choice(choices, |seconds| {
                let (_, path) = bench.session(release);
                let extension = json!({ "requestedAdditionalDuration": seconds });
                let request =
                    bench.request(release, "POST", &format!("{path}/extend")).with_body(&extension);
                // The second extension adds nothing.
                for _ in 0..2 {
                    let response = request.expect_json(200)?;
                    ensure(response["duration"] == 86_400, &response.to_string())?;
                }
                Ok(())
            })
        }),
        scenario(EXTEND, "400.1_schema_not_compliant", move |bench, release| {
            let longest = if is_from_0_11(release) { 2_147_483_648_u32 } else { 86_400 };
            let values =
                [json!("long"), json!(0), json!(-1), json!(longest), json!(1.5), json!(null)];
            each_choice(values.map(|value| (value.to_string(), value)), |seconds| {
                expect_rejected(bench, release, &json!({ "requestedAdditionalDuration": seconds }))
            })?;
            let bodies = [json!([1]), json!(60), json!("60"), json!({ "duration": 60 })];
            each_choice(bodies.map(|body| (body.to_string(), body)), |body| {
                expect_rejected(bench, release, &body)
            })
        }),
        scenario(EXTEND, "400.3_no_request_body", |bench, release| {
            let (_, path) = bench.session(release);
            let request = bench.request(release, "POST", &format!("{path}/extend"));
            request.expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(EXTEND, "400.4_empty_request_body", move |bench, release| {
            expect_rejected(bench, release, &json!({}))
        }),
        scenario(EXTEND, "409.1_session_not_available", |bench, release| {
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            bench.request(release, "GET", &path).send();
            let request = request_for(bench, release, EXTEND, &path);
            request.expect_error(409, &["QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"])
        }),
    ]
}
