use super::*;

fn told(fields: &[&str]) -> Result<String, Unauthenticated> {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(AUTHORIZATION, field.parse().unwrap());
    }
    token(&headers).map(|(_, token)| token.to_owned())
}

#[test]
fn the_scheme_tells_whether_a_proof_goes_with_it() {
    for (field, expected) in [
        ("Bearer abc", Scheme::Bearer),
        ("DPoP abc", Scheme::Dpop),
        ("dpop  abc", Scheme::Dpop),
        ("DPOP abc", Scheme::Dpop),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, field.parse().unwrap());
        assert_eq!(token(&headers), Ok((expected, "abc")), "{field}");
    }
}

#[test]
fn one_bearer_token_is_taken() {
    let long = "x".repeat(TOKEN_BYTES_MAX);
    for (field, expected) in [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        (&format!("Bearer {long}"), &long),
    ] {
        assert_eq!(told(&[field]).as_deref(), Ok(expected));
    }
}

#[test]
fn anything_else_is_refused() {
    let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
    for field in [
        "Bearer",
        "Bearer ",
        "Bearer =",
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer a=b",
        "Bearer a;b",
        "Bearer \"a\"",
        "Bearer a\t",
        "Bearer é",
        "Bearer a%20",
        "DPoP",
        "DPoP a b",
        &long,
    ] {
        assert_eq!(told(&[field]), Err(Unauthenticated::Malformed), "{field:.40}");
    }
    for field in ["", "Basic YTpi", "DPoPabc", "Bearerabc", "abc", "Bearer\tabc", " Bearer abc"] {
        assert_eq!(told(&[field]), Err(Unauthenticated::Missing), "{field}");
    }
    assert_eq!(told(&[]), Err(Unauthenticated::Missing));
    assert_eq!(told(&["Bearer a", "Bearer a"]), Err(Unauthenticated::Malformed));
    assert_eq!(told(&["Bearer a", "Basic a"]), Err(Unauthenticated::Malformed));
    assert_eq!(told(&["DPoP a", "Bearer a"]), Err(Unauthenticated::Malformed));
    assert_eq!(told(&["Basic a", "Bearer a"]), Err(Unauthenticated::Malformed));
}
