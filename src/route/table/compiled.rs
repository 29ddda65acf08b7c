//! Reads and writes compiled tables: a header, sorted arrays, and a checksum of all of it.
//! `docs/reference/route-tables.md` specifies the format byte by byte. Every value is validated before use, and
//! allocations are bounded by the length of the file.

use std::io::{self, Read, Write};

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::{
    NamedOperator, Table,
    exact_numbers::{BUCKET_BITS, ExactNumbers},
    rows::{OPERATORS_MAX, TableRows},
};
use crate::{qod::OperatorId, route::addresses::Addresses};

/// The first bytes of a compiled table.
pub(super) const MAGIC: &[u8; 8] = b"QODROUTE";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 64;
const CHECKSUM_BYTES: u64 = 32;
const BUCKET_NUMBERS_MAX: u32 = 1 << BUCKET_BITS;
const NUMBER_MIN: u64 = 10_000;
const NUMBER_MAX: u64 = 999_999_999_999_999;

/// The sizes of the sections of a file.
#[derive(Clone, Copy)]
struct SectionSizes {
    operators: u64,
    operators_bytes: u64,
    buckets: u64,
    numbers: u64,
    prefixes: u64,
    ipv4: u64,
    ipv6: u64,
}

/// Why a file is not a valid compiled table.
type CompiledError = String;

impl SectionSizes {
    /// The length of a file with these sections.
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

/// A reader or writer that computes the checksum.
struct ChecksumStream<T> {
    inner: T,
    sum: Sha256,
}

impl<R: Read> ChecksumStream<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CompiledError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "the file ends too early".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        })?;
        self.sum.update(&*bytes);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CompiledError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, CompiledError> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, CompiledError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CompiledError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Reads a table from a file of this length.
pub(super) fn read(source: impl Read, file_bytes: u64) -> Result<Table, CompiledError> {
    let mut source = ChecksumStream { inner: source, sum: Sha256::new() };
    let counts = header(&mut source, file_bytes)?;
    let operators = operators(&mut source, counts)?;
    let exact_numbers = exact_numbers(&mut source, counts, operators.len())?;
    let mut table = Table { exact_numbers, operators, ..Table::default() };
    let (mut prefix, mut ipv4, mut ipv6) = (None, None, None);
    for _ in 0..counts.prefixes {
        let (digits, operator) = (source.u64()?, source.u8()?);
        table.insert_prefix(ascending(&mut prefix, digits)?, operator).ok_or_else(corrupt)?;
    }
    let (mut nets4, mut nets6) = (Vec::new(), Vec::new());
    for _ in 0..counts.ipv4 {
        let (address, bits, operator) = (source.take::<4>()?, source.u8()?, source.u8()?);
        let net = Ipv4Net::new(address.into(), bits).map_err(|_| corrupt())?;
        let net = ascending(&mut ipv4, net).and_then(|net| canonical_net(net, &net.trunc()))?;
        nets4.push((net, operator));
    }
    for _ in 0..counts.ipv6 {
        let (address, bits, operator) = (source.take::<16>()?, source.u8()?, source.u8()?);
        let net = Ipv6Net::new(address.into(), bits).map_err(|_| corrupt())?;
        let net = ascending(&mut ipv6, net).and_then(|net| canonical_net(net, &net.trunc()))?;
        nets6.push((net, operator));
    }
    table.ipv4 = Addresses::new(table.with_targets(nets4).ok_or_else(corrupt)?);
    table.ipv6 = Addresses::new(table.with_targets(nets6).ok_or_else(corrupt)?);
    let expected = source.sum.clone().finalize();
    if source.take::<32>()? != *expected {
        return Err("the checksum is wrong: the file is corrupt".to_owned());
    }
    Ok(Table { content: expected.into(), ..table })
}

fn corrupt() -> CompiledError {
    "the file is corrupt, or was not written by `compile-routes`".to_owned()
}

fn header(
    source: &mut ChecksumStream<impl Read>,
    file_bytes: u64,
) -> Result<SectionSizes, CompiledError> {
    if source.take::<8>()? != *MAGIC {
        return Err("the file is not a compiled table".to_owned());
    }
    let version = source.u32()?;
    if version != VERSION {
        return Err(format!(
            "the file has version {version}; this gateway reads version {VERSION}"
        ));
    }
    let counts = SectionSizes {
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
            Err(format!("the file has {file_bytes} bytes; its header requires {expected}"))
        }
        None => Err(corrupt()),
    }
}

fn operators(
    source: &mut ChecksumStream<impl Read>,
    counts: SectionSizes,
) -> Result<Vec<NamedOperator>, CompiledError> {
    let (mut operators, mut bytes, mut last) = (Vec::new(), 0, None);
    if usize::try_from(counts.operators).is_ok_and(|count| count > OPERATORS_MAX) {
        return Err(corrupt());
    }
    for _ in 0..counts.operators {
        let length = source.u8()?;
        bytes += 1 + u64::from(length);
        let mut name = vec![0; usize::from(length)];
        source.fill(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| corrupt())?;
        let operator = ascending(&mut last, OperatorId::from(name.as_str()))?;
        operators.push(NamedOperator { operator, position: None });
    }
    if bytes == counts.operators_bytes { Ok(operators) } else { Err(corrupt()) }
}

fn exact_numbers(
    source: &mut ChecksumStream<impl Read>,
    counts: SectionSizes,
    operators: usize,
) -> Result<ExactNumbers, CompiledError> {
    let size = |count: u64| usize::try_from(count).map_err(|_| corrupt());
    let (buckets, numbers) = (size(counts.buckets)?, size(counts.numbers)?);
    let mut exact_numbers = ExactNumbers {
        keys: Vec::with_capacity(buckets),
        starts: Vec::with_capacity(buckets),
        suffixes: Vec::with_capacity(numbers),
        operators: vec![0; numbers],
    };
    let (mut start, mut last) = (0_u32, None);
    for _ in 0..buckets {
        let (key, count) = (ascending(&mut last, source.u64()?)?, source.u32()?);
        if key > NUMBER_MAX >> BUCKET_BITS || !(1..=BUCKET_NUMBERS_MAX).contains(&count) {
            return Err(corrupt());
        }
        exact_numbers.keys.push(key);
        exact_numbers.starts.push(start);
        start = start.checked_add(count).ok_or_else(corrupt)?;
    }
    if u64::from(start) != counts.numbers {
        return Err(corrupt());
    }
    let mut chunk = [0; 16 << 10];
    let mut remaining = numbers;
    while remaining > 0 {
        let count = remaining.min(chunk.len() / 2);
        let bytes = chunk.get_mut(..count * 2).ok_or_else(corrupt)?;
        source.fill(bytes)?;
        let (pairs, _) = bytes.as_chunks::<2>();
        exact_numbers.suffixes.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
        remaining -= count;
    }
    source.fill(&mut exact_numbers.operators)?;
    check(&exact_numbers, operators)?;
    Ok(exact_numbers)
}

/// Are the numbers of each bucket ascending and valid, and do their operators exist?
fn check(exact_numbers: &ExactNumbers, operators: usize) -> Result<(), CompiledError> {
    for bucket in 0..exact_numbers.keys.len() {
        let (start, end) = exact_numbers.bounds(bucket).ok_or_else(corrupt)?;
        let rests = exact_numbers.suffixes.get(start..end).ok_or_else(corrupt)?;
        if !rests.is_sorted_by(|one, other| one < other) {
            return Err(corrupt());
        }
    }
    let first = exact_numbers.first().is_none_or(|number| number >= NUMBER_MIN);
    let last = exact_numbers.last().is_none_or(|number| number <= NUMBER_MAX);
    let known =
        exact_numbers.operators.iter().max().is_none_or(|index| usize::from(*index) < operators);
    if first && last && known { Ok(()) } else { Err(corrupt()) }
}

fn ascending<T: PartialOrd + Clone>(last: &mut Option<T>, next: T) -> Result<T, CompiledError> {
    if last.as_ref().is_some_and(|last| *last >= next) {
        return Err(corrupt());
    }
    *last = Some(next.clone());
    Ok(next)
}

fn canonical_net<N: PartialEq>(net: N, truncated: &N) -> Result<N, CompiledError> {
    if net == *truncated { Ok(net) } else { Err(corrupt()) }
}

impl<W: Write> ChecksumStream<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// Writes sorted rows.
pub(super) fn write(
    rows: &TableRows,
    exact_numbers: &ExactNumbers,
    target: impl Write,
) -> io::Result<()> {
    let mut target = ChecksumStream { inner: target, sum: Sha256::new() };
    let count = |length: usize| u64::try_from(length).map_err(io::Error::other);
    let names = rows.operators.iter().map(|mention| mention.operator.0.as_bytes());
    let names_bytes: usize = names.clone().map(|name| name.len() + 1).sum();
    target.put(MAGIC)?;
    target.put(&VERSION.to_le_bytes())?;
    let operators = u32::try_from(rows.operators.len()).map_err(io::Error::other)?;
    target.put(&operators.to_le_bytes())?;
    for length in [
        names_bytes,
        exact_numbers.keys.len(),
        exact_numbers.len(),
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
    for (bucket, key) in exact_numbers.keys.iter().enumerate() {
        let (start, end) = exact_numbers.bounds(bucket).unwrap_or_default();
        target.put(&key.to_le_bytes())?;
        target.put(&u32::try_from(end - start).map_err(io::Error::other)?.to_le_bytes())?;
    }
    for rest in &exact_numbers.suffixes {
        target.put(&rest.to_le_bytes())?;
    }
    target.put(&exact_numbers.operators)?;
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
