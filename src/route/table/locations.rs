//! Finds the routes of a table that match a device, and their lines, for `explain`. The table does
//! not store positions, because they would double its memory; its file is read again.

use std::io::BufReader;

use super::{Table, csv};
use crate::{
    qod::Device,
    reloadable::open_regular,
    route::{Match, NumberPrefix, Target, ipv4_net},
};

impl Table {
    /// The most specific matching route of each kind for this device.
    pub fn matching_routes(&self, device: &Device) -> Vec<Match> {
        let phone = device.phone.as_ref().map(|phone| phone.value);
        let exact = phone.filter(|number| self.find_number(number.digits()).is_some());
        let prefix = phone.and_then(|number| {
            let (length, _) = self.find_prefix(number.digits())?;
            NumberPrefix::first_digits(number, length)
        });
        let ipv4 = device.ipv4.as_ref().and_then(|ipv4| self.ipv4.longest_match(&ipv4_net(ipv4)));
        let ipv6 =
            device.ipv6.as_ref().and_then(|ipv6| self.ipv6.longest_match(&ipv6.value.trunc()));
        let routes = [
            exact.map(Match::Number),
            prefix.map(Match::NumberPrefix),
            ipv4.map(Match::Ipv4),
            ipv6.map(Match::Ipv6),
        ];
        routes.into_iter().flatten().collect()
    }

    /// The number prefixes and networks, in order, with their targets.
    pub(in crate::route) fn prefixes_and_networks(&self) -> impl Iterator<Item = (Match, &Target)> {
        let prefixes = self.numbers.prefixes().into_iter();
        let prefixes = prefixes.map(|(prefix, target)| (Match::NumberPrefix(prefix), target));
        let ipv4 = self.ipv4.iter().map(|(net, target)| (Match::Ipv4(net), target));
        let ipv6 = self.ipv6.iter().map(|(net, target)| (Match::Ipv6(net), target));
        prefixes.chain(ipv4).chain(ipv6)
    }

    /// The line of a route, if the file is CSV. The file is read again, so this is slow.
    pub fn find_line(&self, matching: &Match) -> Option<u64> {
        let source = BufReader::with_capacity(1 << 16, open_regular(self.file()?).ok()?);
        let mut line = None;
        let read = csv::read(source, |row| {
            line = row.ok().filter(|row| row.matching == *matching).map(|row| row.position.line);
            line.is_none()
        });
        read.ok().and(line)
    }
}
