//! Which routes of a table a device meets, and where they stand: for whoever explains a decision. The
//! table itself has no places, for they would double what it takes; its file is read again.

use std::{fs::File, io::BufReader};

use super::{Table, csv};
use crate::{
    qod::Device,
    route::{Match, NumberPrefix, Target, ipv4_net},
};

impl Table {
    /// The most specific routes that lead somewhere from an identifier of this device, of each kind one.
    pub fn routes_of(&self, device: &Device) -> Vec<Match> {
        let phone = device.phone.as_ref().map(|phone| phone.value);
        let whole = phone.filter(|number| self.find_whole(number.digits()).is_some());
        let prefix = phone.and_then(|number| {
            let (length, _) = self.find_prefix(number.digits())?;
            NumberPrefix::of_number(number, length)
        });
        let ipv4 = device.ipv4.as_ref().and_then(|ipv4| self.ipv4.longest(&ipv4_net(ipv4)));
        let ipv6 = device.ipv6.as_ref().and_then(|ipv6| self.ipv6.longest(&ipv6.value.trunc()));
        let routes = [
            whole.map(Match::Number),
            prefix.map(Match::NumberPrefix),
            ipv4.map(Match::Ipv4),
            ipv6.map(Match::Ipv6),
        ];
        routes.into_iter().flatten().collect()
    }

    /// Its starts of numbers and its networks, in order, and where each leads.
    pub(in crate::route) fn wide(&self) -> impl Iterator<Item = (Match, &Target)> {
        let prefixes = self.numbers.prefixes().into_iter();
        let prefixes = prefixes.map(|(prefix, target)| (Match::NumberPrefix(prefix), target));
        let ipv4 = self.ipv4.all().map(|(net, target)| (Match::Ipv4(net), target));
        let ipv6 = self.ipv6.all().map(|(net, target)| (Match::Ipv6(net), target));
        prefixes.chain(ipv4).chain(ipv6)
    }

    /// The line of a route, if its file is CSV; read again, so it takes its time.
    pub fn line_of(&self, matching: &Match) -> Option<u64> {
        let source = BufReader::with_capacity(1 << 16, File::open(self.file()?).ok()?);
        let mut line = None;
        let read = csv::read(source, |row| {
            line = row.ok().filter(|row| row.matching == *matching).map(|row| row.at.0);
            line.is_none()
        });
        read.ok().and(line)
    }
}
