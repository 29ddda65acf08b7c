//! `getSession`, `deleteSession` and `extendQosSessionDuration`.

use super::{bench::is_session, *};

const GET: &str = "getSession";
const DELETE: &str = "deleteSession";
const EXTEND: &str = "extendQosSessionDuration";
const NOWHERE: &str = "/sessions/00000000-0000-4000-8000-000000000000";

fn about<'b>(
    bench: &'b Bench,
    release: &'static str,
    operation: &'static str,
    path: &str,
) -> Ask<'b> {
    match operation {
        GET => bench.ask(release, "GET", path),
        DELETE => bench.ask(release, "DELETE", path),
        _ => {
            let more = json!({ "requestedAdditionalDuration": 60 });
            bench.ask(release, "POST", &format!("{path}/extend")).with(&more)
        }
    }
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = get();
    all.extend(shared(GET));
    all.extend(common(GET, ids("400.2_invalid_x-correlator"), |bench, release| {
        about(bench, release, GET, NOWHERE)
    }));
    all.extend(delete());
    all.extend(shared(DELETE));
    all.extend(common(DELETE, ids("400.2_invalid_x-correlator"), |bench, release| {
        about(bench, release, DELETE, NOWHERE)
    }));
    let mut longer = extend();
    longer.extend(shared(EXTEND));
    longer.extend(common(EXTEND, ids("400.5_invalid_x-correlator"), |bench, release| {
        about(bench, release, EXTEND, NOWHERE)
    }));
    all.extend(longer.into_iter().map(|scenario| scenario.only_if(from_0_10)));
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

fn shared(operation: &'static str) -> Vec<Scenario> {
    let invalid =
        if operation == EXTEND { "400.2_invalid_session_id" } else { "400.1_invalid_session_id" };
    vec![
        scenario(operation, invalid, move |bench, release| {
            about(bench, release, operation, "/sessions/4711").expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(operation, "403.2_session_token_mismatch", move |bench, release| {
            let (_, path) = bench.session(release);
            let ask = about(bench, release, operation, &path).of_client("other");
            ask.expect(403, &["PERMISSION_DENIED"])
        }),
        scenario(operation, "404.1_not_found", move |bench, release| {
            about(bench, release, operation, NOWHERE).expect(404, &["NOT_FOUND"])
        }),
    ]
}

fn get() -> Vec<Scenario> {
    vec![
        scenario(GET, "01_get_existing_session", |bench, release| {
            let (number, path) = bench.session(release);
            let told = bench.ask(release, "GET", &path).good(200)?;
            must(path.ends_with(&id_of(&told)), "another session")?;
            is_session(release, &wish(release, &number), &told.json())
        }),
        scenario(GET, "02_get_recent_unavailable", |bench, release| {
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            let told = bench.ask(release, "GET", &path).json(200)?;
            if release == R0_8 {
                // It has no word for it but the session's end.
                let now = jiff::Timestamp::now().as_second();
                let ended = told["expiresAt"].as_i64().is_some_and(|at| at <= now + 1);
                return must(ended, "an end to come");
            }
            must(told["qosStatus"] == "UNAVAILABLE", &told.to_string())
        }),
    ]
}

fn delete() -> Vec<Scenario> {
    vec![
        scenario(DELETE, "01_delete_existing_qod_session", |bench, release| {
            let (number, path) = bench.session(release);
            let told = bench.ask(release, "DELETE", &path).good(204)?;
            must(told.body.is_empty(), "a body")?;
            bench.ask(release, "GET", &path).expect(404, &["NOT_FOUND"])?;
            let books = bench.world.books(OPERATOR);
            must(!books.iter().any(|line| line.contains(&number)), "an orphan")?;
            // Asked for by the newer ones only.
            let typed = told.header("content-type") == Some("application/json");
            must(typed || !is_new(release), "expected a content type, got none")
        }),
        scenario(DELETE, "02_event_notification", told::of_delete),
    ]
}

fn extend() -> Vec<Scenario> {
    let with = |bench: &Bench, release, body: &Value| {
        let (_, path) = bench.session(release);
        let ask = bench.ask(release, "POST", &format!("{path}/extend"));
        ask.with(body).expect(400, &["INVALID_ARGUMENT"])
    };
    vec![
        scenario(EXTEND, "01_generic_success_scenario", |bench, release| {
            let (number, path) = bench.session(release);
            let told = about(bench, release, EXTEND, &path).json(200)?;
            must(told["duration"] == 660, &told.to_string())?;
            is_session(release, &wish(release, &number), &told)
        }),
        scenario(EXTEND, "02_exceed_max_duration", |bench, release| {
            from_0_11(release)?;
            let (_, path) = bench.session(release);
            let more = json!({ "requestedAdditionalDuration": 1_000_000 });
            let ask = bench.ask(release, "POST", &format!("{path}/extend")).with(&more);
            // The second time nothing is left to add.
            for _ in 0..2 {
                let told = ask.json(200)?;
                must(told["duration"] == 86_400, &told.to_string())?;
            }
            Ok(())
        }),
        scenario(EXTEND, "400.1_schema_not_compliant", move |bench, release| {
            with(bench, release, &json!({ "requestedAdditionalDuration": "long" }))
        }),
        scenario(EXTEND, "400.3_no_request_body", |bench, release| {
            let (_, path) = bench.session(release);
            let ask = bench.ask(release, "POST", &format!("{path}/extend"));
            ask.expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(EXTEND, "400.4_empty_request_body", move |bench, release| {
            with(bench, release, &json!({}))
        }),
        scenario(EXTEND, "409.1_session_not_available", |bench, release| {
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            bench.ask(release, "GET", &path).send();
            let ask = about(bench, release, EXTEND, &path);
            ask.expect(409, &["QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"])
        }),
    ]
}
