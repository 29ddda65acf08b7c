use super::*;

#[test]
fn phone_numbers_are_parsed_with_and_without_plus() {
    let number: PhoneNumber = "+4915112345678".parse().unwrap();
    assert_eq!(PhoneNumber::with_optional_plus("4915112345678"), Ok(number));
    assert_eq!(number.to_string(), "+4915112345678");
    for text in ["", "+", "+0491511234567", "+1234", "+1234567890123456", "+49 151", "+٤٩١٥١١٢٣"]
    {
        assert_eq!(text.parse::<PhoneNumber>(), Err(InvalidIdentifier::PhoneNumber), "{text}");
    }
    assert!("4915112345678".parse::<PhoneNumber>().is_err());
}

#[test]
fn debug_output_masks_identifiers() {
    let number: PhoneNumber = "+4915112345678".parse().unwrap();
    let device = Device {
        phone: Some(Verbatim::from_value(number)),
        nai: Some("private-user@domain.com".parse().unwrap()),
        ipv4: Some(DeviceIpv4::Public {
            public: Ipv4Addr::new(84, 125, 93, 10),
            private: None,
            public_port: Some(1),
        }),
        external_id: Some("other-user@domain.com".parse().unwrap()),
        ipv6: Some(Verbatim::from_value("2001:db8:1234:5678::9abc/128".parse().unwrap())),
    };
    let shown = format!("{device:?}");
    for private in ["15112345", "private-user", "other-user", "93.10", "1234", "5678", "9abc"] {
        assert!(!shown.contains(private), "{shown}");
    }
}

#[test]
fn realms_are_case_insensitive_and_users_case_sensitive() {
    let key = |text: &str| text.parse::<Nai>().unwrap().normalized();
    assert_eq!(key("123456789@DOMAIN.com"), key("123456789@domain.COM"));
    assert_ne!(key("abc@domain.com"), key("ABC@domain.com"));
}
