use serde_json::{Value, json};

use super::*;
use crate::identity::{
    Identity, Keys,
    tests::{
        self,
        authority::Authority,
        bearing, claims, clock, outcome, refused,
        signer::{P256, RSA},
    },
};

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";
const UNAVAILABLE: Result<&str, Unauthenticated> = Err(Unauthenticated::KeysUnavailable);

fn asked_at(url: &str) -> Introspection {
    Introspection {
        url: url.to_owned(),
        client_id: "the gateway".to_owned(),
        secret: Arc::new(Kept::fixed(Secret::new("pass:word"))),
        shown_in: ShownIn::Header,
        cached_for: Duration::from_secs(30),
        asks_per_s_max: NonZeroU32::new(50).unwrap(),
    }
}

fn asking(how: Introspection, clock: &Clock) -> Arc<Identity> {
    let settings = tests::settings(tests::issuer(Keys::Introspection(how)));
    Arc::new(tests::identity(settings, clock).unwrap())
}

fn told() -> Value {
    let mut told = claims();
    told["active"] = json!(true);
    told["token_type"] = json!("Bearer");
    told
}

fn told_with(name: &str, value: Value) -> String {
    let mut told = told();
    told[name] = value;
    told.to_string()
}

async fn world() -> (Authority, Clock, Arc<Identity>) {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&told().to_string());
    let identity = asking(asked_at(&authority.url), &clock);
    (authority, clock, identity)
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_in_its_time() {
    let (authority, clock, identity) = world().await;
    assert!(identity.ready(), "there are no keys to wait for");
    let client = identity.authenticate(&bearing(OPAQUE), None).await.unwrap();
    assert_eq!((&*client.id().0, client.scopes().len()), ("app", 1));
    assert_eq!(&*client.subject().unwrap().subject, "user-1");
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("hit"));
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("hit"));
    assert_eq!(authority.fetches(), 1);
    clock.advance(Duration::from_millis(1));
    authority.serves(r#"{"active":false}"#);
    assert_eq!(outcome(&identity, OPAQUE).await, refused(Reason::Inactive), "it was revoked");
    assert_eq!(authority.fetches(), 2);
}

#[tokio::test]
async fn an_answer_is_never_believed_past_exp_nor_when_that_is_not_wanted() {
    let (authority, clock, identity) = world().await;
    authority.serves(&told_with("exp", json!(tests::NOW + 10)));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    clock.advance(Duration::from_secs(10));
    authority.serves(r#"{"active":false}"#);
    assert_eq!(outcome(&identity, OPAQUE).await, refused(Reason::Inactive));

    let never = Introspection { cached_for: Duration::ZERO, ..asked_at(&authority.url) };
    let identity = asking(never, &clock);
    authority.serves(&told_with("exp", json!(tests::NOW + 1000)));
    let before = authority.fetches();
    for _ in 0..3 {
        assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    }
    assert_eq!(authority.fetches(), before + 3);
    // Who sets the clock back does not make an answer last.
    clock.set(Moment::from_unix_s(tests::NOW - 5));
    let identity = asking(asked_at(&authority.url), &clock);
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    clock.advance(Duration::from_secs(30));
    clock.set(Moment::from_unix_s(tests::NOW - 5));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    assert_eq!(authority.fetches(), before + 5);
}

#[tokio::test]
async fn the_gateway_says_who_it_is_in_either_way() {
    let (authority, clock, identity) = world().await;
    let token = "a+b/c~d==";
    assert_eq!(outcome(&identity, token).await, Ok("verified"));
    let heard = authority.last_heard();
    assert!(heard.starts_with("POST /jwks HTTP/1.1\r\n"), "{heard}");
    assert!(
        heard.contains("\r\nauthorization: Basic dGhlK2dhdGV3YXk6cGFzcyUzQXdvcmQ=\r\n"),
        "{heard}"
    );
    assert!(heard.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\ntoken=a%2Bb%2Fc%7Ed%3D%3D&token_type_hint=access_token"));

    let post = Introspection { shown_in: ShownIn::Body, ..asked_at(&authority.url) };
    assert_eq!(outcome(&asking(post, &clock), token).await, Ok("verified"));
    let heard = authority.last_heard();
    assert!(!heard.contains("authorization"), "{heard}");
    assert!(heard.ends_with("&client_id=the+gateway&client_secret=pass%3Aword"), "{heard}");
}

#[tokio::test]
async fn a_secret_is_read_anew_when_its_file_changes() {
    let (authority, clock, _) = world().await;
    let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, "before\n").unwrap();
    let secret = Arc::new(Kept::of_file(path.clone(), Secret::line).unwrap());
    let how = Introspection { secret, shown_in: ShownIn::Body, ..asked_at(&authority.url) };
    let identity = asking(how, &clock);
    assert_eq!(outcome(&identity, "a").await, Ok("verified"));
    assert!(authority.last_heard().ends_with("client_secret=before"));
    std::fs::write(&path, "after\n").unwrap();
    clock.advance(LOOK_EVERY);
    assert_eq!(outcome(&identity, "b").await, Ok("verified"));
    assert!(authority.last_heard().ends_with("client_secret=after"));
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn what_is_said_of_a_token_is_judged_as_the_claims_of_a_jwt() {
    let (authority, _, identity) = world().await;
    let now = tests::NOW;
    for (number, (name, value, reason)) in [
        ("active", json!(false), Reason::Inactive),
        ("iss", json!("https://issuer.example/"), Reason::Issuer),
        ("iss", json!(["https://issuer.example"]), Reason::Claims),
        ("aud", json!("https://other.example"), Reason::Audience),
        ("aud", json!(null), Reason::Claims),
        ("exp", json!(now - 30), Reason::Expired),
        ("exp", json!("1900000000"), Reason::Claims),
        ("nbf", json!(now + 31), Reason::NotYet),
        ("iat", json!(now + 31), Reason::NotYet),
        ("client_id", json!(""), Reason::Client),
        ("client_id", json!(["app"]), Reason::Claims),
        ("sub", json!(""), Reason::Claims),
        ("token_type", json!("refresh_token"), Reason::Type),
        ("token_type", json!("DPoP"), Reason::Type),
        ("token_type", json!(["Bearer"]), Reason::Claims),
        ("typ", json!("ID"), Reason::Type),
        ("typ", json!("Refresh"), Reason::Type),
        ("token_use", json!("refresh_token"), Reason::Type),
    ]
    .into_iter()
    .enumerate()
    {
        authority.serves(&told_with(name, value.clone()));
        let token = format!("token-{number}");
        assert_eq!(outcome(&identity, &token).await, refused(reason), "{name}: {value}");
    }
    let without = |name: &str| {
        let mut told = told();
        told.as_object_mut().unwrap().remove(name);
        told.to_string()
    };
    for name in ["exp", "aud"] {
        authority.serves(&without(name));
        assert_eq!(outcome(&identity, name).await, refused(Reason::Claims), "{name}");
    }
    for name in ["iss", "token_type", "sub", "scope"] {
        authority.serves(&without(name));
        assert_eq!(outcome(&identity, name).await, Ok("verified"), "{name}");
    }
    authority.serves(&told_with("token_type", json!("bearer")));
    assert_eq!(outcome(&identity, "bearer").await, Ok("verified"));
}

#[tokio::test]
async fn a_jwt_is_asked_about_at_its_own_issuer_only() {
    let (authority, _, identity) = world().await;
    let own = P256.token(&claims());
    assert_eq!(outcome(&identity, &own).await, Ok("verified"));
    let exotic = RSA.token_of(r#"{"alg":"ES384","kid":"x"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &exotic).await, Ok("verified"), "its issuer knows how");
    assert_eq!(authority.fetches(), 2);
    let mut foreign = claims();
    foreign["iss"] = json!("https://other.example");
    assert_eq!(outcome(&identity, &P256.token(&foreign)).await, refused(Reason::Issuer));
    let nobodys = P256.token_of(&P256.header().to_string(), r#"{"aud":"qod"}"#);
    assert_eq!(outcome(&identity, &nobodys).await, refused(Reason::Claims));
    assert_eq!(authority.fetches(), 2, "nothing is told to who has no business with it");
}

#[tokio::test]
async fn a_token_that_is_none_is_not_asked_about_again_for_a_moment() {
    let (authority, clock, identity) = world().await;
    authority.serves(r#"{"active":false}"#);
    for _ in 0..20 {
        assert_eq!(outcome(&identity, OPAQUE).await, refused(Reason::Inactive));
    }
    assert_eq!(authority.fetches(), 1);
    clock.advance(REFUSED_FOR);
    authority.serves(&told().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_bring_one_token_are_one_question() {
    let (authority, _, identity) = world().await;
    let mut all = Vec::new();
    for _ in 0..200 {
        let identity = Arc::clone(&identity);
        all.push(tokio::spawn(async move { outcome(&identity, OPAQUE).await.is_ok() }));
    }
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(authority.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_made_up_tokens_costs_the_issuer_little_and_those_it_knows_nothing() {
    let (authority, clock, identity) = world().await;
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    authority.serves(r#"{"active":false}"#);
    for second in 0..3 {
        clock.advance(Duration::from_secs(1));
        let mut flood = Vec::new();
        for number in 0..300 {
            let (identity, token) = (Arc::clone(&identity), format!("made-up-{second}-{number}"));
            flood.push(tokio::spawn(async move { outcome(&identity, &token).await }));
        }
        for one in flood {
            let told = one.await.unwrap();
            assert!(told == refused(Reason::Inactive) || told == UNAVAILABLE, "{told:?}");
        }
        assert_eq!(outcome(&identity, OPAQUE).await, Ok("hit"));
    }
    assert_eq!(authority.fetches(), 1 + 3 * 50);
    assert!(identity.introspector.as_ref().unwrap().asking().under_way.is_empty());
}

#[tokio::test]
async fn nothing_is_believed_while_the_issuer_does_not_say_so() {
    let (authority, clock, identity) = world().await;
    let good = told().to_string();
    let huge = told_with("x", json!("x".repeat(ANSWER_BYTES_MAX)));
    let deep = format!(r#"{{"active":true,"x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let outages: [&dyn Fn(); 12] = [
        &|| authority.hangs_up(),
        &|| authority.answers(500, &good),
        &|| authority.answers(401, &good),
        &|| authority.answers(302, &good),
        &|| authority.answers(204, ""),
        &|| authority.serves(""),
        &|| authority.serves("<html>active</html>"),
        &|| authority.serves("[true]"),
        &|| authority.serves(r#"{"active":"true"}"#),
        &|| authority.serves(r#"{"active":false,"active":true}"#),
        &|| authority.serves(&huge),
        &|| authority.serves(&deep),
    ];
    for (number, outage) in outages.iter().enumerate() {
        outage();
        assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE, "{number}");
        clock.advance(Duration::from_secs(1));
    }
    authority.serves(&told().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"), "and then it does");
}

#[tokio::test]
async fn an_issuer_that_fails_is_let_alone_for_a_moment() {
    let (authority, clock, identity) = world().await;
    authority.answers(503, "");
    for number in 0..30 {
        assert_eq!(outcome(&identity, &format!("t{number}")).await, UNAVAILABLE);
    }
    assert_eq!(authority.fetches(), 3);
    clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE);
    assert_eq!(authority.fetches(), 4);
    authority.serves(&told().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE, "too early");
    clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    assert_eq!(outcome(&identity, "another").await, Ok("verified"));
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_break_off_the_question() {
    let (authority, _, identity) = world().await;
    {
        let headers = bearing(OPAQUE);
        let mut asking = std::pin::pin!(identity.authenticate(&headers, None));
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(asking.as_mut().poll(context).is_pending())
        });
        assert!(once.await, "it waits for the answer");
    }
    while identity.verified.len() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("hit"));
    assert_eq!(authority.fetches(), 1);
}

#[test]
fn settings_that_cannot_be_taken_are_told() {
    let fault = |how: Introspection| {
        let settings = tests::settings(tests::issuer(Keys::Introspection(how)));
        tests::identity(settings, &clock()).err().unwrap()[0].message.clone()
    };
    let url = "the introspection's URL: ";
    assert_eq!(
        fault(asked_at("http://issuer.example/i")),
        format!("{url}expected https, or http on this machine")
    );
    assert_eq!(fault(asked_at("nonsense")), format!("{url}the scheme must be http or https"));
    let long = Introspection {
        cached_for: CACHED_FOR_MAX + Duration::from_secs(1),
        ..asked_at("https://issuer.example/i")
    };
    assert_eq!(fault(long), "expected an answer to be believed for at most 3600s");
    let mut settings =
        tests::settings(tests::issuer(Keys::Introspection(asked_at("https://issuer.example/i"))));
    let mut other = settings.issuers[0].clone();
    other.issuer = "https://other.example".to_owned();
    settings.issuers.push(other);
    let faults = tests::identity(settings, &clock()).err().unwrap();
    assert_eq!(faults[0].message, "another issuer is asked about its tokens already");
}
