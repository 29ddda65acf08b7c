//! The finders to ask for the operator of a device, if no route names it.

use super::{Disagreement, NoOperator, NumberPrefix, ResolvedOperator, Routes};
use crate::qod::{Device, FinderId, IdentifierKind, OperatorId};

/// A lookup that finders must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupRequest {
    /// The finders, each with the identifier to look up. They are asked in order until one knows
    /// the operator. Never empty.
    pub finders: Vec<(FinderId, IdentifierKind)>,
    // The operator that a route names by another identifier, and whether such routes disagree.
    pub(super) named: Option<OperatorId>,
    pub(super) disagree: bool,
    pub(super) disagreement: Disagreement,
}

/// A finder that is asked if no route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackFinder {
    /// The finder.
    pub finder: FinderId,
    /// The identifier kinds that it can look up.
    pub identifiers: &'static [IdentifierKind],
    /// If set, only numbers with one of these prefixes are looked up.
    pub number_prefixes: Option<Vec<NumberPrefix>>,
}

impl FallbackFinder {
    /// Can it look up an identifier of this kind if no route matches?
    pub(super) fn looks_up(&self, kind: IdentifierKind) -> bool {
        let admitted = self
            .number_prefixes
            .as_ref()
            .is_none_or(|prefixes| kind == IdentifierKind::PhoneNumber && !prefixes.is_empty());
        admitted && self.identifiers.contains(&kind)
    }
}

impl LookupRequest {
    /// The result for the operator that a finder named for this identifier.
    ///
    /// # Errors
    /// If a route names another operator, and the policy rejects disagreement.
    pub fn resolve(
        &self,
        operator: OperatorId,
        by: IdentifierKind,
    ) -> Result<ResolvedOperator, NoOperator> {
        let other = self.named.as_ref().is_some_and(|named| *named != operator);
        self.disagreement.admit(ResolvedOperator {
            operator,
            matched_by: by,
            disagree: self.disagree || other,
        })
    }
}

impl Routes {
    /// Sets the finders to ask if no route matches, in this order.
    #[must_use]
    pub fn with_fallback_finders(mut self, fallbacks: Vec<FallbackFinder>) -> Self {
        self.fallback_finders = fallbacks;
        self
    }

    pub(super) fn fallback_lookups(&self, device: &Device) -> Vec<(FinderId, IdentifierKind)> {
        let lookup = |fallback: &FallbackFinder| {
            Some((fallback.finder.clone(), self.looked_up_by(fallback, device)?))
        };
        self.fallback_finders.iter().filter_map(lookup).collect()
    }

    fn looked_up_by(&self, fallback: &FallbackFinder, device: &Device) -> Option<IdentifierKind> {
        let matches = |prefix: &NumberPrefix| {
            device.phone.as_ref().is_some_and(|phone| prefix.matches(phone.value))
        };
        self.kinds().find(|kind| {
            let admitted = fallback.number_prefixes.as_ref().is_none_or(|numbers| {
                *kind == IdentifierKind::PhoneNumber && numbers.iter().any(matches)
            });
            admitted
                && fallback.identifiers.contains(kind)
                && device.kinds().any(|has| has == *kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        qod::{DeviceIpv4, Verbatim},
        route::{Match, Resolution, Resolver, Route, Target},
    };

    const ANY: &[IdentifierKind] = &[IdentifierKind::PhoneNumber, IdentifierKind::Ipv4Address];

    fn device(number: Option<&str>, address: Option<&str>) -> Device {
        let public = |text: &str| DeviceIpv4::Public {
            public: text.parse().unwrap(),
            private: None,
            public_port: None,
        };
        Device {
            phone: number.map(|number| Verbatim::from_value(number.parse().unwrap())),
            ipv4: address.map(public),
            ..Device::default()
        }
    }

    fn routes(disagreement: Disagreement) -> Routes {
        let operator = |name: &str| Target::Operator(name.into());
        let finder = || Target::Finder("prefix".into());
        let rules = [
            (Match::Number("+34600000001".parse().unwrap()), operator("ported")),
            (Match::NumberPrefix("+34".parse().unwrap()), finder()),
            (Match::NumberPrefix("+346".parse().unwrap()), operator("six")),
            (Match::NumberPrefix("+3467".parse().unwrap()), finder()),
            (Match::Ipv4("203.0.113.0/24".parse().unwrap()), operator("net")),
            (Match::Ipv4("198.51.100.0/24".parse().unwrap()), finder()),
            (Match::Ipv4("198.51.100.128/25".parse().unwrap()), operator("net")),
        ];
        let rules = rules.into_iter().map(|(matching, target)| Route { matching, target });
        let fallback = |name: &str, kinds, numbers: Option<&[&str]>| FallbackFinder {
            finder: name.into(),
            identifiers: kinds,
            number_prefixes: numbers
                .map(|all| all.iter().map(|text| text.parse().unwrap()).collect()),
        };
        let fallbacks = vec![
            fallback("numbers", &ANY[..1], None),
            fallback("routed", ANY, Some(&[])),
            fallback("portugal", ANY, Some(&["+351", "+3519"])),
            fallback("all", ANY, None),
        ];
        let order = vec![Resolver::Number, Resolver::Ip];
        Routes::new(rules.collect(), order, disagreement).with_fallback_finders(fallbacks)
    }

    /// The operator, or the finders with the identifiers to look up.
    fn resolve(device: &Device) -> Result<String, NoOperator> {
        let routes = routes(Disagreement::First);
        let lookup = |(finder, by): &(FinderId, IdentifierKind)| format!("{finder}?{}", by.name());
        Ok(match routes.find(device)? {
            Resolution::Operator(found) => found.operator.to_string(),
            Resolution::AskFinders(request) => {
                request.finders.iter().map(lookup).collect::<Vec<_>>().join(" ")
            }
        })
    }

    #[test]
    fn most_specific_route_applies_and_fallback_finders_are_asked_if_none_matches() {
        let number = |number| resolve(&device(Some(number), None)).unwrap();
        assert_eq!(number("+34600000001"), "ported", "before every prefix");
        assert_eq!(number("+34600000002"), "six");
        assert_eq!(number("+34670000001"), "prefix?phoneNumber");
        assert_eq!(number("+34900000001"), "prefix?phoneNumber");
        assert_eq!(number("+33600000001"), "numbers?phoneNumber all?phoneNumber");
        let all = "numbers?phoneNumber portugal?phoneNumber all?phoneNumber";
        assert_eq!(number("+35191000001"), all);
        let address = |address| resolve(&device(None, Some(address))).unwrap();
        assert_eq!(address("203.0.113.1"), "net");
        assert_eq!(address("198.51.100.1"), "prefix?ipv4Address");
        assert_eq!(address("198.51.100.200"), "net");
        assert_eq!(address("192.0.2.1"), "all?ipv4Address");
        // A device that a route matches by another identifier is not looked up.
        let both = |number, address| resolve(&device(Some(number), Some(address))).unwrap();
        assert_eq!(both("+33600000001", "203.0.113.1"), "net");
        assert_eq!(both("+34670000001", "203.0.113.1"), "prefix?phoneNumber");
        assert_eq!(both("+34600000002", "198.51.100.1"), "six");
    }

    #[test]
    fn network_that_leads_to_a_finder_only_in_part_is_rejected() {
        let net = |net: &str| Device {
            ipv4: Some(DeviceIpv4::Legacy(Verbatim::from_value(net.parse().unwrap()))),
            ..Device::default()
        };
        assert_eq!(resolve(&net("198.51.100.0/24")), Err(NoOperator::Disagreement));
        assert_eq!(resolve(&net("198.51.100.0/25")).unwrap(), "prefix?ipv4Address");
    }

    #[test]
    fn answer_that_contradicts_a_route_is_marked_or_rejected() {
        for (disagreement, rejected) in [(Disagreement::First, false), (Disagreement::Refuse, true)]
        {
            let routes = routes(disagreement);
            let device = device(Some("+34670000001"), Some("203.0.113.1"));
            let Ok(Resolution::AskFinders(request)) = routes.find(&device) else {
                panic!("expected a finder lookup")
            };
            let matched_by = IdentifierKind::PhoneNumber;
            let found = request.resolve("net".into(), matched_by).unwrap();
            assert_eq!(
                found,
                ResolvedOperator { operator: "net".into(), matched_by, disagree: false }
            );
            let found = request.resolve("other".into(), matched_by);
            assert_eq!(found.is_err(), rejected);
            assert!(found.is_err() || found.unwrap().disagree);
        }
    }
}
