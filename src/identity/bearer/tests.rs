use super::*;

fn parsed_token(fields: &[&str]) -> Result<String, Unauthenticated> {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(AUTHORIZATION, field.parse().unwrap());
    }
    token(&headers).map(|(_, token)| token.to_owned())
}

#[test]
fn scheme_is_matched_case_insensitively() {
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
fn single_bearer_token_is_accepted() {
    let long = "x".repeat(TOKEN_BYTES_MAX);
    for (field, expected) in [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        (&format!("Bearer {long}"), &long),
    ] {
        assert_eq!(parsed_token(&[field]).as_deref(), Ok(expected));
    }
}

#[test]
fn malformed_and_missing_tokens_are_rejected() {
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
        assert_eq!(parsed_token(&[field]), Err(Unauthenticated::Malformed), "{field:.40}");
    }
    for field in ["", "Basic YTpi", "DPoPabc", "Bearerabc", "abc", "Bearer\tabc", " Bearer abc"] {
        assert_eq!(parsed_token(&[field]), Err(Unauthenticated::Missing), "{field}");
    }
    assert_eq!(parsed_token(&[]), Err(Unauthenticated::Missing));
    assert_eq!(parsed_token(&["Bearer a", "Bearer a"]), Err(Unauthenticated::Malformed));
    assert_eq!(parsed_token(&["Bearer a", "Basic a"]), Err(Unauthenticated::Malformed));
    assert_eq!(parsed_token(&["DPoP a", "Bearer a"]), Err(Unauthenticated::Malformed));
    assert_eq!(parsed_token(&["Basic a", "Bearer a"]), Err(Unauthenticated::Malformed));
}
