//! Tables in their compiled form: sorted arrays behind a header, with a checksum over all of it.
//! `docs/routes.md` tells it byte by byte. Nothing in a file is believed before it is checked, and
//! nothing is allocated that the file's own length does not account for.

use std::io::{self, Read, Write};

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::{
    Mention, Table,
    rows::{OPERATORS_MAX, Rows},
    whole::{BUCKET_BITS, Whole},
};
use crate::{qod::OperatorId, route::addresses::Addresses};

/// How a compiled table begins.
pub(super) const MAGIC: &[u8; 8] = b"QODROUTE";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 64;
const CHECKSUM_BYTES: u64 = 32;
const BUCKET_NUMBERS_MAX: u32 = 1 << BUCKET_BITS;
const NUMBER_MIN: u64 = 10_000;
const NUMBER_MAX: u64 = 999_999_999_999_999;

/// How much of each there is.
#[derive(Clone, Copy)]
struct Counts {
    operators: u64,
    operators_bytes: u64,
    buckets: u64,
    numbers: u64,
    prefixes: u64,
    ipv4: u64,
    ipv6: u64,
}

/// Why a file is no sound table, after its name.
type Unsound = String;

impl Counts {
    /// The bytes of a file with so much in it.
    fn file_bytes(&self) -> Option<u64> {
        let parts = [
            (self.operators_bytes, 1),
            (self.buckets, 12),
            (self.numbers, 3),
            (self.prefixes, 9),
            (self.ipv4, 6),
            (self.ipv6, 18),
        ];
        parts.into_iter().try_fold(HEADER_BYTES + CHECKSUM_BYTES, |sum, (count, bytes)| {
            sum.checked_add(u64::checked_mul(count, bytes)?)
        })
    }
}

/// What goes through it is summed.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<R: Read> Summed<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Unsound> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
            _ => format!("it cannot be read: {error}"),
        })?;
        self.sum.update(&*bytes);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unsound> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Unsound> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, Unsound> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Unsound> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Reads a table from a file of so many bytes.
pub(super) fn read(source: impl Read, file_bytes: u64) -> Result<Table, Unsound> {
    let mut source = Summed { inner: source, sum: Sha256::new() };
    let counts = header(&mut source, file_bytes)?;
    let operators = operators(&mut source, counts)?;
    let whole = whole(&mut source, counts, operators.len())?;
    let mut table = Table { whole, operators, ..Table::default() };
    let (mut prefix, mut ipv4, mut ipv6) = (None, None, None);
    for _ in 0..counts.prefixes {
        let (digits, operator) = (source.u64()?, source.u8()?);
        table.insert_prefix(ascending(&mut prefix, digits)?, operator).ok_or_else(damaged)?;
    }
    let (mut nets4, mut nets6) = (Vec::new(), Vec::new());
    for _ in 0..counts.ipv4 {
        let (address, bits, operator) = (source.take::<4>()?, source.u8()?, source.u8()?);
        let net = Ipv4Net::new(address.into(), bits).map_err(|_| damaged())?;
        let net = ascending(&mut ipv4, net).and_then(|net| whole_net(net, &net.trunc()))?;
        nets4.push((net, operator));
    }
    for _ in 0..counts.ipv6 {
        let (address, bits, operator) = (source.take::<16>()?, source.u8()?, source.u8()?);
        let net = Ipv6Net::new(address.into(), bits).map_err(|_| damaged())?;
        let net = ascending(&mut ipv6, net).and_then(|net| whole_net(net, &net.trunc()))?;
        nets6.push((net, operator));
    }
    table.ipv4 = Addresses::new(table.named(nets4).ok_or_else(damaged)?);
    table.ipv6 = Addresses::new(table.named(nets6).ok_or_else(damaged)?);
    let expected = source.sum.clone().finalize();
    if source.take::<32>()? != *expected {
        return Err("its checksum is wrong: it is damaged".to_owned());
    }
    Ok(Table { content: expected.into(), ..table })
}

fn damaged() -> Unsound {
    "it is damaged, or was not written by `compile-routes`".to_owned()
}

fn header(source: &mut Summed<impl Read>, file_bytes: u64) -> Result<Counts, Unsound> {
    if source.take::<8>()? != *MAGIC {
        return Err("it is not a compiled table".to_owned());
    }
    let version = source.u32()?;
    if version != VERSION {
        return Err(format!("it is of version {version}; this gateway reads {VERSION}"));
    }
    let counts = Counts {
        operators: u64::from(source.u32()?),
        operators_bytes: source.u64()?,
        buckets: source.u64()?,
        numbers: source.u64()?,
        prefixes: source.u64()?,
        ipv4: source.u64()?,
        ipv6: source.u64()?,
    };
    match counts.file_bytes() {
        Some(expected) if expected == file_bytes => Ok(counts),
        Some(expected) => {
            Err(format!("it has {file_bytes} bytes, and {expected} by its own header"))
        }
        None => Err(damaged()),
    }
}

fn operators(source: &mut Summed<impl Read>, counts: Counts) -> Result<Vec<Mention>, Unsound> {
    let (mut operators, mut bytes, mut last) = (Vec::new(), 0, None);
    if usize::try_from(counts.operators).is_ok_and(|count| count > OPERATORS_MAX) {
        return Err(damaged());
    }
    for _ in 0..counts.operators {
        let length = source.u8()?;
        bytes += 1 + u64::from(length);
        let mut name = vec![0; usize::from(length)];
        source.fill(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| damaged())?;
        let operator = ascending(&mut last, OperatorId::from(name.as_str()))?;
        operators.push(Mention { operator, at: None });
    }
    if bytes == counts.operators_bytes { Ok(operators) } else { Err(damaged()) }
}

fn whole(
    source: &mut Summed<impl Read>,
    counts: Counts,
    operators: usize,
) -> Result<Whole, Unsound> {
    let size = |count: u64| usize::try_from(count).map_err(|_| damaged());
    let (buckets, numbers) = (size(counts.buckets)?, size(counts.numbers)?);
    let mut whole = Whole {
        keys: Vec::with_capacity(buckets),
        starts: Vec::with_capacity(buckets),
        rests: Vec::with_capacity(numbers),
        operators: vec![0; numbers],
    };
    let (mut start, mut last) = (0_u32, None);
    for _ in 0..buckets {
        let (key, count) = (ascending(&mut last, source.u64()?)?, source.u32()?);
        if key > NUMBER_MAX >> BUCKET_BITS || !(1..=BUCKET_NUMBERS_MAX).contains(&count) {
            return Err(damaged());
        }
        whole.keys.push(key);
        whole.starts.push(start);
        start = start.checked_add(count).ok_or_else(damaged)?;
    }
    if u64::from(start) != counts.numbers {
        return Err(damaged());
    }
    let mut chunk = [0; 16 << 10];
    let mut left = numbers;
    while left > 0 {
        let count = left.min(chunk.len() / 2);
        let bytes = chunk.get_mut(..count * 2).ok_or_else(damaged)?;
        source.fill(bytes)?;
        let (pairs, _) = bytes.as_chunks::<2>();
        whole.rests.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
        left -= count;
    }
    source.fill(&mut whole.operators)?;
    check(&whole, operators)?;
    Ok(whole)
}

/// Do the numbers of each bucket ascend, within the bounds of a number, to operators that exist?
fn check(whole: &Whole, operators: usize) -> Result<(), Unsound> {
    for bucket in 0..whole.keys.len() {
        let (start, end) = whole.bounds(bucket).ok_or_else(damaged)?;
        let rests = whole.rests.get(start..end).ok_or_else(damaged)?;
        if !rests.is_sorted_by(|one, other| one < other) {
            return Err(damaged());
        }
    }
    let first = whole.first().is_none_or(|number| number >= NUMBER_MIN);
    let last = whole.last().is_none_or(|number| number <= NUMBER_MAX);
    let known = whole.operators.iter().max().is_none_or(|place| usize::from(*place) < operators);
    if first && last && known { Ok(()) } else { Err(damaged()) }
}

fn ascending<T: PartialOrd + Clone>(last: &mut Option<T>, next: T) -> Result<T, Unsound> {
    if last.as_ref().is_some_and(|last| *last >= next) {
        return Err(damaged());
    }
    *last = Some(next.clone());
    Ok(next)
}

fn whole_net<N: PartialEq>(net: N, truncated: &N) -> Result<N, Unsound> {
    if net == *truncated { Ok(net) } else { Err(damaged()) }
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// Writes rows that are in order.
pub(super) fn write(rows: &Rows, whole: &Whole, target: impl Write) -> io::Result<()> {
    let mut target = Summed { inner: target, sum: Sha256::new() };
    let count = |length: usize| u64::try_from(length).map_err(io::Error::other);
    let names = rows.operators.iter().map(|mention| mention.operator.0.as_bytes());
    let names_bytes: usize = names.clone().map(|name| name.len() + 1).sum();
    target.put(MAGIC)?;
    target.put(&VERSION.to_le_bytes())?;
    let operators = u32::try_from(rows.operators.len()).map_err(io::Error::other)?;
    target.put(&operators.to_le_bytes())?;
    for length in [
        names_bytes,
        whole.keys.len(),
        whole.len(),
        rows.prefixes.len(),
        rows.ipv4.len(),
        rows.ipv6.len(),
    ] {
        target.put(&count(length)?.to_le_bytes())?;
    }
    for name in names {
        target.put(&[u8::try_from(name.len()).map_err(io::Error::other)?])?;
        target.put(name)?;
    }
    for (bucket, key) in whole.keys.iter().enumerate() {
        let (start, end) = whole.bounds(bucket).unwrap_or_default();
        target.put(&key.to_le_bytes())?;
        target.put(&u32::try_from(end - start).map_err(io::Error::other)?.to_le_bytes())?;
    }
    for rest in &whole.rests {
        target.put(&rest.to_le_bytes())?;
    }
    target.put(&whole.operators)?;
    for (digits, operator) in &rows.prefixes {
        target.put(&digits.to_le_bytes())?;
        target.put(&[*operator])?;
    }
    for (net, operator) in &rows.ipv4 {
        target.put(&net.addr().octets())?;
        target.put(&[net.prefix_len(), *operator])?;
    }
    for (net, operator) in &rows.ipv6 {
        target.put(&net.addr().octets())?;
        target.put(&[net.prefix_len(), *operator])?;
    }
    let sum = target.sum.finalize();
    target.inner.write_all(&sum)?;
    target.inner.flush()
}
