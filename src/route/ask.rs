//! Who is to be asked for a device's operator, because no route of ours leads there.

use super::{Disagreement, Found, NoOperator, NumberPrefix, Routes};
use crate::qod::{Device, FinderId, IdentifierKind, OperatorId};

/// A question that routes leave to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who is asked, and about which of the device's identifiers: one after the other, until one
    /// knows. Never empty.
    pub finders: Vec<(FinderId, IdentifierKind)>,
    // Whom a route names by another identifier, and whether another route names somebody else.
    pub(super) named: Option<OperatorId>,
    pub(super) disagree: bool,
    pub(super) disagreement: Disagreement,
}

/// Somebody who is asked when no route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastResort {
    /// Who.
    pub finder: FinderId,
    /// What it can be asked about.
    pub kinds: &'static [IdentifierKind],
    /// Nothing but numbers that start so, if that is said.
    pub numbers: Option<Vec<NumberPrefix>>,
}

impl Ask {
    /// This operator serves the device, by the word of one who was asked about this identifier.
    ///
    /// # Errors
    /// If a route names another, and the policies refuse that.
    pub fn found(&self, operator: OperatorId, by: IdentifierKind) -> Result<Found, NoOperator> {
        let other = self.named.as_ref().is_some_and(|named| *named != operator);
        self.disagreement.admit(Found { operator, by, disagree: self.disagree || other })
    }
}

impl Routes {
    /// The same routes, and who is asked when none of them matches, in this order.
    #[must_use]
    pub fn asking(mut self, last: Vec<LastResort>) -> Self {
        self.last = last;
        self
    }

    pub(super) fn last_resorts(&self, device: &Device) -> Vec<(FinderId, IdentifierKind)> {
        let asked =
            |last: &LastResort| Some((last.finder.clone(), self.asked_about(last, device)?));
        self.last.iter().filter_map(asked).collect()
    }

    fn asked_about(&self, last: &LastResort, device: &Device) -> Option<IdentifierKind> {
        let starts = |prefix: &NumberPrefix| {
            device.phone.as_ref().is_some_and(|phone| prefix.is_of(phone.value))
        };
        self.kinds().find(|kind| {
            let wanted = last.numbers.as_ref().is_none_or(|numbers| {
                *kind == IdentifierKind::PhoneNumber && numbers.iter().any(starts)
            });
            wanted && last.kinds.contains(kind) && device.kinds().any(|has| has == *kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        qod::{DeviceIpv4, Written},
        route::{Match, Resolver, Rule, Target, Way},
    };

    const ANY: &[IdentifierKind] = &[IdentifierKind::PhoneNumber, IdentifierKind::Ipv4Address];

    fn device(number: Option<&str>, address: Option<&str>) -> Device {
        let public = |text: &str| DeviceIpv4::Public {
            public: text.parse().unwrap(),
            private: None,
            public_port: None,
        };
        Device {
            phone: number.map(|number| Written::plain(number.parse().unwrap())),
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
        let rules = rules.into_iter().map(|(matching, target)| Rule { matching, target });
        let last = |name: &str, kinds, numbers: Option<&[&str]>| LastResort {
            finder: name.into(),
            kinds,
            numbers: numbers.map(|all| all.iter().map(|text| text.parse().unwrap()).collect()),
        };
        let lasts = vec![
            last("numbers", &ANY[..1], None),
            last("routed", ANY, Some(&[])),
            last("portugal", ANY, Some(&["+351", "+3519"])),
            last("all", ANY, None),
        ];
        let order = vec![Resolver::Number, Resolver::Ip];
        Routes::new(rules.collect(), order, disagreement).asking(lasts)
    }

    /// The operator, or who is asked by which of its identifiers.
    fn way(device: &Device) -> Result<String, NoOperator> {
        let routes = routes(Disagreement::First);
        let asked = |(finder, by): &(FinderId, IdentifierKind)| format!("{finder}?{}", by.name());
        Ok(match routes.find(device)? {
            Way::Found(found) => found.operator.to_string(),
            Way::Ask(ask) => ask.finders.iter().map(asked).collect::<Vec<_>>().join(" "),
        })
    }

    #[test]
    fn the_most_specific_route_decides_and_if_none_matches_whoever_fits_is_asked() {
        let number = |number| way(&device(Some(number), None)).unwrap();
        assert_eq!(number("+34600000001"), "ported", "before every prefix");
        assert_eq!(number("+34600000002"), "six");
        assert_eq!(number("+34670000001"), "prefix?phoneNumber");
        assert_eq!(number("+34900000001"), "prefix?phoneNumber");
        assert_eq!(number("+33600000001"), "numbers?phoneNumber all?phoneNumber");
        let all = "numbers?phoneNumber portugal?phoneNumber all?phoneNumber";
        assert_eq!(number("+35191000001"), all);
        let address = |address| way(&device(None, Some(address))).unwrap();
        assert_eq!(address("203.0.113.1"), "net");
        assert_eq!(address("198.51.100.1"), "prefix?ipv4Address");
        assert_eq!(address("198.51.100.200"), "net");
        assert_eq!(address("192.0.2.1"), "all?ipv4Address");
        // One that a route knows by another name is not asked about.
        let both = |number, address| way(&device(Some(number), Some(address))).unwrap();
        assert_eq!(both("+33600000001", "203.0.113.1"), "net");
        assert_eq!(both("+34670000001", "203.0.113.1"), "prefix?phoneNumber");
        assert_eq!(both("+34600000002", "198.51.100.1"), "six");
    }

    #[test]
    fn a_network_that_only_in_part_leads_to_a_finder_is_refused() {
        let net = |net: &str| Device {
            ipv4: Some(DeviceIpv4::Legacy(Written::plain(net.parse().unwrap()))),
            ..Device::default()
        };
        assert_eq!(way(&net("198.51.100.0/24")), Err(NoOperator::Disagreement));
        assert_eq!(way(&net("198.51.100.0/25")).unwrap(), "prefix?ipv4Address");
    }

    #[test]
    fn an_answer_that_a_route_contradicts_is_told_or_refused() {
        for (disagreement, refused) in [(Disagreement::First, false), (Disagreement::Refuse, true)]
        {
            let routes = routes(disagreement);
            let device = device(Some("+34670000001"), Some("203.0.113.1"));
            let Ok(Way::Ask(ask)) = routes.find(&device) else { panic!("somebody is asked") };
            let by = IdentifierKind::PhoneNumber;
            let found = ask.found("net".into(), by).unwrap();
            assert_eq!(found, Found { operator: "net".into(), by, disagree: false });
            let found = ask.found("other".into(), by);
            assert_eq!(found.is_err(), refused);
            assert!(found.is_err() || found.unwrap().disagree);
        }
    }
}
